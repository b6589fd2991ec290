//! A program that does nothing, of the type that the datapath's programs have: what it costs is not the datapath's.

use anyhow::{Context as _, Result};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use object::write::{Object, StandardSection, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

const NAME: &str = "empty";

/// Let the packet go: `r0 = TCX_NEXT; exit`, as the kernel's `struct bpf_insn` lays instructions out.
const INSTRUCTIONS: [u8; 16] = [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// The empty program, loaded.
pub(crate) struct Empty(Ebpf);

impl Empty {
    pub(crate) fn load() -> Result<Self> {
        let mut object = EbpfLoader::new().load(&elf()?).context("the empty program's object can't be read")?;
        let program: &mut SchedClassifier = object.program_mut(NAME).context("the object holds it")?.try_into()?;
        program.load().context("the kernel refuses the empty program")?;
        Ok(Self(object))
    }

    pub(crate) fn program(&self) -> &SchedClassifier {
        self.0.program(NAME).expect("found when it was loaded").try_into().expect("a classifier when it was loaded")
    }
}

/// An object file as a compiler would make it.
fn elf() -> Result<Vec<u8>> {
    let endianness = if cfg!(target_endian = "big") { Endianness::Big } else { Endianness::Little };
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, endianness);
    let code = elf.add_section(Vec::new(), b"classifier".to_vec(), SectionKind::Text);
    let symbol = elf.add_symbol(Symbol {
        name: NAME.into(),
        value: 0,
        size: INSTRUCTIONS.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(code),
        flags: SymbolFlags::None,
    });
    elf.add_symbol_data(symbol, code, &INSTRUCTIONS, 8);
    let licence = elf.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    elf.append_section_data(licence, b"Dual MIT/GPL\0", 1);
    // The reader looks for it.
    elf.section_id(StandardSection::Text);
    Ok(elf.write()?)
}
