//! Types whose bytes may cross between the kernel and the agent.

/// A type that is the same as its bytes: any bit pattern is a valid value and no byte is padding.
///
/// # Safety
/// The implementor is `repr(C)` or `repr(transparent)`, has no padding, no pointer and no invalid bit pattern.
/// Rows implement it through [`plain!`](crate::plain::plain), which proves the absence of padding at compile time.
#[expect(unsafe_code, reason = "the promise itself is what callers rely on")]
pub unsafe trait Plain: Copy + 'static {}

/// Declares a row as [`Plain`]: its type, its size in bytes, and the types of its fields in order.
macro_rules! plain {
    ($type:ty, $size:literal, [$($field:ty),+ $(,)?]) => {
        const _: () = {
            assert!(size_of::<$type>() == $size, "the size of a row is part of the ABI");
            assert!(0 $(+ size_of::<$field>())+ == $size, "a row has no hidden padding");
            assert!(align_of::<$type>() <= 8, "the kernel aligns map values to 8 bytes");
        };
        // SAFETY: `repr(C)` by review, no padding by the assertions above, and every field is itself plain.
        #[expect(unsafe_code, reason = "this macro is where rows become plain")]
        unsafe impl $crate::plain::Plain for $type {}
        const _: fn() = || {
            fn each_field_is_plain<T: $crate::plain::Plain>() {}
            $(each_field_is_plain::<$field>();)+
        };
    };
}
pub(crate) use plain;

macro_rules! primitives {
    ($($type:ty),+) => { $(
        // SAFETY: integers have no padding and no invalid value.
        #[expect(unsafe_code, reason = "integers are plain")]
        unsafe impl Plain for $type {}
    )+ };
}
primitives!(u8, u16, u32, u64);

// SAFETY: an array adds no padding between its elements.
#[expect(unsafe_code, reason = "arrays of plain values are plain")]
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Two runs of words, the second one right behind the first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Words<const M: usize, const N: usize>(pub [u32; M], pub [u32; N]);

// SAFETY: both fields are words, so nothing lies between or behind them.
#[expect(unsafe_code, reason = "runs of words are plain")]
unsafe impl<const M: usize, const N: usize> Plain for Words<M, N> {}
