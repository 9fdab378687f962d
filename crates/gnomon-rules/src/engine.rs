//! The Rhai engine with everything bounded.
//!
//! Invariants: every limit that Rhai knows is set; what can block, load code, or read a clock is
//! not there; a deadline ends what the operation limit does not, since operations are not of
//! constant time. See: `wire/standards.md` 8.3.

use std::cell::RefCell;

use gnomon_model::Action;
use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, LanguageCorePackage, LogicPackage, MoreStringPackage,
    Package,
};
use rhai::{Dynamic, Engine, Module, OptimizationLevel};

use crate::{Clock, functions};

/// Bounds of one evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Operations, as Rhai counts them. Also what bounds memory: an operation can copy at most one
    /// value of the sizes below, and `map[key] = value` escapes the map limit.
    pub operations_max: u64,
    /// Time, milliseconds.
    pub deadline_ms: u64,
    /// Nested calls.
    pub call_levels_max: usize,
    /// Bytes of one string.
    pub string_bytes_max: usize,
    /// Elements of one array, nested ones counted in.
    pub array_items_max: usize,
    /// Members of one map, nested ones counted in.
    pub map_members_max: usize,
    /// Variables at one time.
    pub variables_max: usize,
    /// Functions of one rule.
    pub functions_max: usize,
    /// Nesting of expressions.
    pub expression_depth_max: usize,
    /// Actions of one evaluation.
    pub actions_max: usize,
    /// Bytes of a rule's state as JSON.
    pub state_bytes_max: usize,
    /// Whether the optimiser may fold constants; off only to test that it changes nothing.
    pub optimise: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            operations_max: 20_000,
            deadline_ms: 50,
            call_levels_max: 16,
            string_bytes_max: 4096,
            array_items_max: 256,
            map_members_max: 256,
            variables_max: 64,
            functions_max: 32,
            expression_depth_max: 32,
            actions_max: 64,
            state_bytes_max: 4096,
            optimise: true,
        }
    }
}

thread_local! {
    /// The evaluation that runs on this thread. Rhai hands its progress callback nothing but a
    /// count, so the deadline must be found from the thread; evaluation never leaves it.
    static RUNNING: RefCell<Running> = const { RefCell::new(Running::none()) };
}

/// What one evaluation has decided so far, and until when it may.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) deadline_ns: u64,
    pub(crate) actions_max: usize,
    pub(crate) actions: Vec<Action>,
}

impl Running {
    const fn none() -> Self {
        Self { deadline_ns: u64::MAX, actions_max: 0, actions: Vec::new() }
    }

    /// Begins an evaluation on this thread.
    pub(crate) fn begin(deadline_ns: u64, actions_max: usize) {
        let begun = Self { deadline_ns, actions_max, actions: Vec::new() };
        RUNNING.with(|running| running.replace(begun));
    }

    /// Ends it; returns what it decided.
    pub(crate) fn end() -> Vec<Action> {
        RUNNING.with(|running| running.replace(Self::none())).actions
    }

    /// Adds an action to the evaluation on this thread.
    pub(crate) fn act(action: Action) -> Result<(), String> {
        RUNNING.with_borrow_mut(|running| {
            if running.actions.len() >= running.actions_max {
                return Err(format!("more than {} actions", running.actions_max));
            }
            running.actions.push(action);
            Ok(())
        })
    }
}

/// Builds the engine that all rules share.
pub(crate) fn build(clock: Clock, limits: &Limits) -> Engine {
    let mut engine = Engine::new_raw();
    register_packages(&mut engine);
    functions::register(&mut engine);
    bound(&mut engine, limits);
    for symbol in ["eval", "import", "export", "print", "debug"] {
        engine.disable_symbol(symbol);
    }
    engine.set_strict_variables(true);
    engine.set_allow_shadowing(true);
    engine.set_fail_on_invalid_map_property(false);
    engine.on_print(|_| {});
    engine.on_debug(|_, _, _| {});
    engine.on_progress(move |operations| {
        // Reading the clock costs as much as several operations.
        let late =
            operations % 32 == 0 && RUNNING.with_borrow(|running| clock() > running.deadline_ns);
        late.then(|| Dynamic::from("deadline"))
    });
    engine
}

/// All standard packages but those for time, bits and blobs. In one module, since each call of a
/// function is looked up in one after the other.
fn register_packages(engine: &mut Engine) {
    let mut module = Module::new();
    LanguageCorePackage::init(&mut module);
    ArithmeticPackage::init(&mut module);
    LogicPackage::init(&mut module);
    BasicStringPackage::init(&mut module);
    BasicIteratorPackage::init(&mut module);
    BasicFnPackage::init(&mut module);
    BasicMathPackage::init(&mut module);
    BasicArrayPackage::init(&mut module);
    BasicMapPackage::init(&mut module);
    MoreStringPackage::init(&mut module);
    module.register_lazy_functions();
    module.build_index();
    engine.register_global_module(module.into());
}

fn bound(engine: &mut Engine, limits: &Limits) {
    engine.set_max_operations(limits.operations_max);
    engine.set_max_call_levels(limits.call_levels_max);
    engine.set_max_string_size(limits.string_bytes_max);
    engine.set_max_array_size(limits.array_items_max);
    engine.set_max_map_size(limits.map_members_max);
    engine.set_max_variables(limits.variables_max);
    engine.set_max_functions(limits.functions_max);
    engine.set_max_modules(0);
    engine.set_max_expr_depths(limits.expression_depth_max, limits.expression_depth_max);
    engine.set_optimization_level(match limits.optimise {
        true => OptimizationLevel::Simple,
        false => OptimizationLevel::None,
    });
}
