//! How large and of what shape a component is, looked at before anything is
//! compiled. Costs one pass over the file's headers.
//!
//! No opinion about types or the validity of code (the engine's validator has
//! it), and none about what the exports mean (see `host.rs`).

use wasmparser::{
    CanonicalFunction, ComponentType, Encoding, Instance, Parser, Payload, TableInit, TypeRef,
};

use crate::failure::capped;
use crate::limits::Limits;
use crate::refused::Refused;
use crate::world;

pub(crate) const WASM_PAGE_BYTES: u64 = 64 << 10;

/// Checks the file in `wasm` against `limits`, nested core modules included,
/// and the names of what it imports and exports against our world. Returns the
/// bytes of its functions: what there is to compile.
pub(crate) fn check(wasm: &[u8], limits: &Limits) -> Result<u64, Refused> {
    bound(
        "module_bytes_max",
        wasm.len() as u64,
        limits.module_bytes_max,
    )?;
    check_magic(wasm)?;
    let mut shape = Shape::default();
    // Core modules and components that we are inside of.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        match &payload {
            Payload::Version { encoding, .. } => {
                match encoding {
                    Encoding::Component if depth > 0 => {
                        shape.nested_components += 1;
                        let max = limits.nested_components_max;
                        bound("nested_components_max", shape.nested_components, max)?;
                    }
                    Encoding::Component => {}
                    Encoding::Module => {
                        shape.core_modules += 1;
                        bound(
                            "core_modules_max",
                            shape.core_modules,
                            limits.core_modules_max,
                        )?;
                    }
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => shape.add(&payload, depth, limits)?,
        }
    }
    for name in world::EXPORTS {
        if !shape.root_exports.iter().any(|export| export == name) {
            return Err(Refused::Export {
                name: name.into(),
                why: "it is missing".into(),
            });
        }
    }
    Ok(shape.code_bytes)
}

/// Tells a component from everything else, by its first eight bytes.
fn check_magic(wasm: &[u8]) -> Result<(), Refused> {
    if Parser::is_component(wasm) {
        return Ok(());
    }
    if Parser::is_core_wasm(wasm) {
        return Err(Refused::CoreModule);
    }
    let what = match wasm {
        [] => "the file is empty".to_owned(),
        [0, b'a', b's', b'm', rest @ ..] => {
            format!(
                "a WebAssembly header of an unknown version {:?}",
                &rest[..rest.len().min(4)]
            )
        }
        [b'(', ..] => "it looks like WebAssembly text; assemble it first".to_owned(),
        [0x7f, b'E', b'L', b'F', ..] => "it is a native program (ELF)".to_owned(),
        _ => format!("it begins with {:02x?}", &wasm[..wasm.len().min(4)]),
    };
    Err(Refused::NotWasm { what })
}

/// What has been counted so far, all nested modules together.
#[derive(Default)]
struct Shape {
    functions: u64,
    code_bytes: u64,
    locals: u64,
    globals: u64,
    tables: u64,
    memories: u64,
    data_segments: u64,
    element_segments: u64,
    exports: u64,
    imports: u64,
    types: u64,
    core_modules: u64,
    core_instances: u64,
    nested_components: u64,
    custom_bytes: u64,
    root_exports: Vec<String>,
}

impl Shape {
    fn add(&mut self, payload: &Payload<'_>, depth: usize, limits: &Limits) -> Result<(), Refused> {
        match payload {
            Payload::TypeSection(section) => self.add_types(section.count(), limits),
            Payload::CoreTypeSection(section) => self.add_types(section.count(), limits),
            Payload::ComponentTypeSection(section) => {
                self.add_types(section.count(), limits)?;
                for ty in section.clone() {
                    if let ComponentType::Resource { .. } = ty.map_err(invalid)? {
                        return Err(unsupported("resources of its own"));
                    }
                }
                Ok(())
            }
            Payload::ImportSection(section) => {
                self.add_imports(section.count(), limits)?;
                for import in section.clone().into_imports() {
                    match import.map_err(invalid)?.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                            self.add_functions(1, limits)?
                        }
                        TypeRef::Memory(memory) => check_memory(&memory, limits)?,
                        TypeRef::Table(table) => check_table(table.initial, limits)?,
                        TypeRef::Global(_) | TypeRef::Tag(_) => {}
                    }
                }
                Ok(())
            }
            Payload::FunctionSection(section) => self.add_functions(section.count().into(), limits),
            Payload::TableSection(section) => {
                self.tables += u64::from(section.count());
                bound("tables_max", self.tables, limits.tables_max)?;
                for table in section.clone() {
                    let table = table.map_err(invalid)?;
                    check_table(table.ty.initial, limits)?;
                    if let TableInit::Expr(_) = table.init {
                        return Err(unsupported("tables with an initial element"));
                    }
                }
                Ok(())
            }
            Payload::MemorySection(section) => {
                self.memories += u64::from(section.count());
                bound("memories_max", self.memories, limits.memories_max)?;
                for memory in section.clone() {
                    check_memory(&memory.map_err(invalid)?, limits)?;
                }
                Ok(())
            }
            Payload::GlobalSection(section) => {
                self.globals += u64::from(section.count());
                bound("globals_max", self.globals, limits.globals_max)
            }
            Payload::ExportSection(section) => self.add_exports(section.count(), limits),
            Payload::ElementSection(section) => {
                self.element_segments += u64::from(section.count());
                bound(
                    "element_segments_max",
                    self.element_segments,
                    limits.element_segments_max,
                )
            }
            Payload::DataSection(section) => {
                self.data_segments += u64::from(section.count());
                bound(
                    "data_segments_max",
                    self.data_segments,
                    limits.data_segments_max,
                )
            }
            Payload::CodeSectionEntry(body) => {
                let bytes = body.range().len() as u64;
                bound("function_bytes_max", bytes, limits.function_bytes_max)?;
                self.code_bytes += bytes;
                let mut locals = 0;
                for group in body.get_locals_reader().map_err(invalid)? {
                    locals += u64::from(group.map_err(invalid)?.0);
                }
                bound("function_locals_max", locals, limits.function_locals_max)?;
                self.locals += locals;
                bound("locals_max", self.locals, limits.locals_max)
            }
            Payload::CustomSection(section) => {
                self.custom_bytes += section.data().len() as u64;
                bound(
                    "custom_bytes_max",
                    self.custom_bytes,
                    limits.custom_bytes_max,
                )
            }
            Payload::ComponentImportSection(section) => {
                self.add_imports(section.count(), limits)?;
                for import in section.clone() {
                    let import = import.map_err(invalid)?;
                    if depth == 1 {
                        check_import(import.name.name, import.ty)?;
                    }
                }
                Ok(())
            }
            Payload::ComponentExportSection(section) => {
                self.add_exports(section.count(), limits)?;
                for export in section.clone() {
                    let export = export.map_err(invalid)?;
                    if depth == 1 {
                        self.root_exports.push(export.name.name.to_owned());
                    }
                }
                Ok(())
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { .. } = instance.map_err(invalid)? {
                        self.core_instances += 1;
                    }
                }
                bound(
                    "core_instances_max",
                    self.core_instances,
                    limits.core_instances_max,
                )
            }
            Payload::ComponentCanonicalSection(section) => {
                self.add_functions(section.count().into(), limits)?;
                for function in section.clone() {
                    match function.map_err(invalid)? {
                        CanonicalFunction::Lift { .. } | CanonicalFunction::Lower { .. } => {}
                        // Handles live in tables of ours that no limit bounds
                        // yet, and nothing in the world needs them.
                        _ => return Err(unsupported("resources and asynchronous built-ins")),
                    }
                }
                Ok(())
            }
            Payload::TagSection(_) => Err(unsupported("exceptions")),
            Payload::ComponentStartSection { .. } => {
                Err(unsupported("a component's start function"))
            }
            _ => Ok(()),
        }
    }

    fn add_types(&mut self, count: u32, limits: &Limits) -> Result<(), Refused> {
        self.types += u64::from(count);
        bound("types_max", self.types, limits.types_max)
    }

    fn add_functions(&mut self, count: u64, limits: &Limits) -> Result<(), Refused> {
        self.functions += count;
        bound("functions_max", self.functions, limits.functions_max)
    }

    fn add_imports(&mut self, count: u32, limits: &Limits) -> Result<(), Refused> {
        self.imports += u64::from(count);
        bound("imports_max", self.imports, limits.imports_max)
    }

    fn add_exports(&mut self, count: u32, limits: &Limits) -> Result<(), Refused> {
        self.exports += u64::from(count);
        bound("exports_max", self.exports, limits.exports_max)
    }
}

/// Whether our world has an import of this name. Its type is checked when it
/// is linked.
fn check_import(name: &str, ty: wasmparser::ComponentTypeRef) -> Result<(), Refused> {
    use wasmparser::ComponentTypeRef as Ty;
    match ty {
        Ty::Instance(_) if world::is_interface(name) => Ok(()),
        // The world's own types travel as imports that nobody has to provide.
        Ty::Type(wasmparser::TypeBounds::Eq(_)) => Ok(()),
        _ => Err(Refused::Import {
            name: capped(name.to_owned()),
            why: format!(
                "there is no such import; there are {}",
                world::INTERFACES.join(", ")
            ),
        }),
    }
}

fn check_memory(memory: &wasmparser::MemoryType, limits: &Limits) -> Result<(), Refused> {
    if memory.memory64 || memory.shared || memory.page_size_log2.is_some() {
        return Err(unsupported(
            "64-bit or shared memories, or pages of another size",
        ));
    }
    let bytes = memory.initial.saturating_mul(WASM_PAGE_BYTES);
    bound("memory_bytes_max", bytes, limits.memory_bytes_max)
}

fn check_table(elements: u64, limits: &Limits) -> Result<(), Refused> {
    bound("table_elements_max", elements, limits.table_elements_max)
}

fn bound(limit: &'static str, used: u64, max: u64) -> Result<(), Refused> {
    if used > max {
        Err(Refused::Limit { limit, used, max })
    } else {
        Ok(())
    }
}

fn unsupported(what: &str) -> Refused {
    Refused::Unsupported {
        what: what.to_owned(),
    }
}

fn invalid(error: wasmparser::BinaryReaderError) -> Refused {
    Refused::Invalid {
        message: capped(error.to_string()),
    }
}
