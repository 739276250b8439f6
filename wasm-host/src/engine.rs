//! The one engine of a process: what WASM may contain, what it costs, and how
//! much memory is set aside for instances.
//!
//! Nothing about single modules here (see `module.rs`), nothing about host
//! functions' prices (see `costs.rs`). Shared by all threads.
//!
//! Everything that could make two runs of the same turn differ is off: threads,
//! relaxed SIMD, and the bits of a NaN. Everything that we have no use for is
//! off as well: each proposal is more compiler to trust.

use std::hash::{Hash, Hasher};

use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OperatorCost, OptLevel,
    PoolingAllocationConfig, Strategy,
};

use crate::host::HostConfig;
use crate::limits::Limits;
use crate::slot::LEAVING_INSTANCES;

/// Instances beyond `instances_max` that loading modules may use, so that a
/// full server can still tell what an application is.
pub(crate) const DESCRIBE_INSTANCES: u32 = 1;

/// Stack left for host functions above a guest's own: LMDB lookups and the
/// shard's state run there.
const HOST_STACK_BYTES: usize = 512 << 10;

/// Address space of one linear memory. With all of it reserved, compiled code
/// needs no bounds checks.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
const MEMORY_GUARD_BYTES: u64 = 32 << 20;

/// What x86-64 and AArch64 give one process, less a generous rest for
/// everything that is not a linear memory.
const ADDRESS_SPACE_BYTES: u64 = 100 << 40;

/// What the configuration has to say about machine code: two engines with the
/// same of these make the same of it and can run each other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeSettings {
    pub(crate) memories_max: u64,
    pub(crate) stack_bytes_max: u64,
}

impl CodeSettings {
    pub(crate) fn of(limits: &Limits) -> CodeSettings {
        CodeSettings {
            memories_max: limits.memories_max,
            stack_bytes_max: limits.stack_bytes_max,
        }
    }
}

/// An engine that compiles for [`new_engine`]'s and runs nothing: it sets no
/// memory aside.
pub(crate) fn compiling_engine(settings: CodeSettings) -> Result<Engine, String> {
    Engine::new(&code_config(settings)).map_err(|error| format!("{error:#}"))
}

/// The engine that runs instances.
pub(crate) fn new_engine(config: &HostConfig) -> Result<Engine, String> {
    let limits = &config.limits;
    let more = DESCRIBE_INSTANCES + LEAVING_INSTANCES;
    let instances = config.instances_max.saturating_add(more);
    let memories = u64::from(instances) * limits.memories_max;
    let reserved = memories * (MEMORY_RESERVATION_BYTES + MEMORY_GUARD_BYTES);
    if reserved > ADDRESS_SPACE_BYTES {
        let most = ADDRESS_SPACE_BYTES
            / (MEMORY_RESERVATION_BYTES + MEMORY_GUARD_BYTES)
            / limits.memories_max;
        let most = most.saturating_sub(more.into());
        return Err(format!(
            "instances_max is {}, and must be at most {most} with memories_max {}: each memory \
             reserves 4 GiB of address space",
            config.instances_max, limits.memories_max
        ));
    }
    let per_instance = |count: u64| (u64::from(instances) * count).min(u32::MAX.into()) as u32;

    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(per_instance(limits.core_instances_max))
        .total_memories(per_instance(limits.memories_max))
        .total_tables(per_instance(limits.tables_max))
        .total_stacks(instances)
        .max_core_instances_per_component(limits.core_instances_max as u32)
        .max_memories_per_component(limits.memories_max as u32)
        .max_tables_per_component(limits.tables_max as u32)
        .max_memories_per_module(limits.memories_max as u32)
        .max_tables_per_module(limits.tables_max as u32)
        .max_memory_size(limits.memory_bytes_max as usize)
        .table_elements(limits.table_elements_max as usize)
        .max_unused_warm_slots(config.warm_slots_max)
        .linear_memory_keep_resident(config.memory_keep_resident_bytes)
        .table_keep_resident(config.table_keep_resident_bytes)
        // Resets only what a guest has touched, where the kernel can tell.
        .pagemap_scan(Enabled::Auto);

    let mut engine = code_config(CodeSettings::of(limits));
    engine.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&engine).map_err(|error| format!("{error:#}"))
}

/// Everything that decides what machine code looks like and expects: the one
/// place for it, whether it is made in this process or in another.
fn code_config(settings: CodeSettings) -> Config {
    let stack = settings.stack_bytes_max as usize;
    let mut engine = Config::new();
    engine
        .strategy(Strategy::Cranelift)
        // The components that people ship are optimised already; this level
        // costs about as much time as the quick one and gives better code.
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .memory_init_cow(true)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HOST_STACK_BYTES)
        .consume_fuel(true)
        .operator_cost(operator_costs())
        .parallel_compilation(true)
        // A trap's text names the instruction's kind; a map from machine code
        // to bytecode would add a fifth to each module for an offset that
        // nobody can use without the author's debug information.
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_tail_call(true)
        .wasm_extended_const(true)
        .wasm_multi_memory(settings.memories_max > 1)
        .wasm_memory64(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .wasm_component_model(true)
        // On by default, and parts of garbage collection.
        .wasm_features(WasmFeatures::FUNCTION_REFERENCES | WasmFeatures::GC, false);
    // Threads, garbage collection, exceptions, stack switching and the
    // asynchronous component model are not compiled in at all (see the
    // features of wasmtime in the workspace manifest).
    engine
}

/// A digest of everything that decides whether compiled code fits an engine:
/// wasmtime's version and settings and the processor's features; and of what
/// the caller adds.
pub(crate) fn digest(engine: &Engine, more: &[u64]) -> [u8; 32] {
    struct IntoBlake3(blake3::Hasher);

    impl Hasher for IntoBlake3 {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            let digest = self.0.finalize();
            u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("8 of 32 bytes"))
        }
    }

    let mut hasher = IntoBlake3(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    for number in more {
        number.hash(&mut hasher);
    }
    *hasher.0.finalize().as_bytes()
}

/// What each WASM instruction costs in fuel.
///
/// One unit is one plain instruction. Instructions that take several times as
/// long cost several units, and those whose work depends on an operand are
/// charged by byte, element or page on top, so that none escapes metering.
/// `nop`, `drop` and the brackets of blocks make no code and cost nothing.
pub fn operator_costs() -> OperatorCost {
    let mut cost = OperatorCost::new();
    // Calls save and restore registers and check the stack.
    cost.Call = 3;
    cost.CallIndirect = 6;
    cost.ReturnCall = 3;
    cost.ReturnCallIndirect = 6;
    cost.CallRef = 6;
    cost.ReturnCallRef = 6;
    // Tens of cycles in every processor.
    cost.I32DivS = 8;
    cost.I32DivU = 8;
    cost.I32RemS = 8;
    cost.I32RemU = 8;
    cost.I64DivS = 12;
    cost.I64DivU = 12;
    cost.I64RemS = 12;
    cost.I64RemU = 12;
    cost.F32Div = 6;
    cost.F64Div = 6;
    cost.F32Sqrt = 8;
    cost.F64Sqrt = 8;
    cost.F32x4Div = 8;
    cost.F64x2Div = 8;
    cost.F32x4Sqrt = 10;
    cost.F64x2Sqrt = 10;
    // A function's reference may have to be made on first use.
    cost.RefFunc = 20;
    cost.TableGet = 4;
    cost.TableSet = 4;
    // These leave compiled code for the runtime.
    cost.MemoryGrow = 250;
    cost.MemoryInit = 50;
    cost.MemoryCopy = 20;
    cost.MemoryFill = 20;
    cost.DataDrop = 50;
    cost.TableGrow = 250;
    cost.TableInit = 50;
    cost.TableCopy = 50;
    cost.TableFill = 50;
    cost.ElemDrop = 50;
    cost.variable.memory_copy_per_byte = 1;
    cost.variable.memory_fill_per_byte = 1;
    cost.variable.memory_init_per_byte = 1;
    // A new page of 64 KiB is sixteen page faults when it is touched.
    cost.variable.memory_grow_per_page = 255;
    cost.variable.table_copy_per_element = 4;
    cost.variable.table_fill_per_element = 4;
    cost.variable.table_init_per_element = 20;
    cost.variable.table_grow_per_element = 4;
    cost
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the code is made in this process or in another.
    #[test]
    fn the_engine_that_compiles_makes_what_the_engine_that_runs_expects() {
        let limits = Limits {
            memories_max: 2,
            stack_bytes_max: 256 << 10,
            ..Limits::default()
        };
        let settings = CodeSettings::of(&limits);
        let runs = new_engine(&HostConfig {
            limits,
            ..HostConfig::new(2)
        })
        .unwrap();
        let compiles = compiling_engine(settings).unwrap();
        assert_eq!(digest(&runs, &[]), digest(&compiles, &[]));
        let others = compiling_engine(CodeSettings::of(&Limits::default())).unwrap();
        assert_ne!(digest(&runs, &[]), digest(&others, &[]));
    }

    /// The proof that no instruction with work behind it is free.
    #[test]
    fn instructions_whose_work_depends_on_an_operand_are_charged_for_it() {
        let variable = operator_costs().variable;
        for price in [
            variable.memory_copy_per_byte,
            variable.memory_fill_per_byte,
            variable.memory_init_per_byte,
            variable.memory_grow_per_page,
            variable.table_copy_per_element,
            variable.table_fill_per_element,
            variable.table_init_per_element,
            variable.table_grow_per_element,
        ] {
            assert!(price > 0);
        }
    }
}
