//! What a big cluster has in common is kept once, and no object is bigger than it must be.

use std::sync::Arc;

use super::super::kept::{KeptEndpoint, KeptSlice, Shared};
use super::*;

#[test]
fn what_nobody_has_any_more_is_not_kept() {
    let mut shared = Shared::<str>::default();
    let mut kept: Vec<Arc<str>> = Vec::new();
    for i in 0..100_000 {
        let mut value: Arc<str> = i.to_string().into();
        shared.share(&mut value);
        if i < 10 {
            kept.push(value);
        }
    }
    assert!(shared.len() <= 74, "{}", shared.len());
    let mut again: Arc<str> = "3".into();
    shared.share(&mut again);
    assert!(Arc::ptr_eq(&again, &kept[3]));
}

#[test]
fn objects_stay_small() {
    assert!(size_of::<KeptEndpoint>() <= 32);
    assert!(size_of::<KeptSlice>() <= 56);
    assert!(size_of::<ServiceSpec>() <= 152);
    assert!(size_of::<Object>() <= 160, "a list holds as many of them as the cluster has objects");
    assert!(size_of::<EndpointSpec>() <= 48);
}
