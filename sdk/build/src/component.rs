//! From a core module to a component of our world.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

use crate::BuildError;

/// The world that applications are checked against.
pub const WIT: &str = include_str!("../../wit/corelet.wit");

/// Writes into a module of any origin that it is of our world, as the SDK does
/// for modules that are built with it.
pub fn embed_world(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    embed_worlds(module, &["application"])
}

/// The same for one that exports `handle` as well.
pub fn embed_world_with_handlers(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    embed_worlds(module, &["application-with-handlers"])
}

/// The same for one that has to do with all of these worlds.
pub fn embed_worlds(module: &[u8], worlds: &[&str]) -> Result<Vec<u8>, BuildError> {
    let mut module = module.to_vec();
    for world in worlds {
        let (resolve, world) = our_world(world);
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
            .map_err(|error| BuildError::NotAComponent {
                reason: format!("{error:#}"),
            })?;
    }
    Ok(module)
}

/// Makes the module a component and checks that it is an application.
pub fn component_of(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    // `{:#}` shows the whole chain: the encoder's outermost error says little.
    let component = ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| BuildError::NotAComponent {
            reason: format!("{error:#}"),
        })?;
    // Which every application is, whatever it has beside.
    let (resolve, world) = our_world("application");
    wit_component::targets(&resolve, world, &component, false).map_err(|error| {
        BuildError::OtherWorld {
            reason: format!("{error:#}"),
        }
    })?;
    Ok(component)
}

fn our_world(name: &str) -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str("corelet.wit", WIT)
        .expect("our own world parses; a test sees to it");
    let world = resolve
        .select_world(&[package], Some(name))
        .expect("our own world is in it");
    (resolve, world)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty core module.
    const EMPTY: [u8; 8] = *b"\0asm\x01\0\0\0";

    #[test]
    fn what_is_no_module_is_refused() {
        let error = component_of(b"not wasm").unwrap_err();
        assert!(matches!(error, BuildError::NotAComponent { .. }), "{error}");
    }

    #[test]
    fn a_module_without_our_exports_is_refused() {
        let error = component_of(&EMPTY).unwrap_err();
        assert!(matches!(error, BuildError::OtherWorld { .. }), "{error}");
    }
}
