//! The Rhai engine with everything bounded.
//!
//! Invariants: every limit that Rhai knows is set; what can block, load code, or read a clock is
//! not there; a deadline ends what the operation limit does not, since operations are not of
//! constant time. See: `wire/standards.md` 8.3.

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, LanguageCorePackage, LogicPackage, MoreStringPackage,
    Package,
};
use rhai::{Engine, EvalAltResult, Module, OptimizationLevel, Position};

use crate::{Clock, functions, running};

/// Bounds of one evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Operations, as Rhai counts them.
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
    /// Bytes of one value: its texts and keys, and 24 for each item and member. Counted at every
    /// few reads of variables, since Rhai counts no keys and does not see what `map[key] = value`
    /// adds. What the message hands to the rule is let through on top.
    pub value_bytes_max: usize,
    /// Bytes of all variables together, counted likewise. Temporary values come on top:
    /// those of one expression of the depth below.
    pub total_bytes_max: usize,
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
            value_bytes_max: 16_384,
            total_bytes_max: 1_048_576,
            variables_max: 64,
            functions_max: 32,
            expression_depth_max: 32,
            actions_max: 64,
            state_bytes_max: 4096,
            optimise: true,
        }
    }
}

/// What ended an evaluation.
pub(crate) const DEADLINE: &str = "deadline";
pub(crate) const MEMORY: &str = "memory";

/// What compiles and evaluates rules; all share it.
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    /// The same engine, but neither strict nor optimising, see [`crate::compile::compile`].
    pub(crate) survey: Engine,
    pub(crate) limits: Limits,
    clock: Clock,
}

impl Machine {
    pub(crate) fn new(clock: Clock, limits: Limits) -> Self {
        // Rhai names closures by a hash, which is seeded for each process unless it is set before
        // the first engine. It can be set once: it is set already if this is not the first.
        let _ = rhai::config::hashing::set_hashing_seed(Some([1, 2, 3, 4]));
        let engine = build(clock, &limits);
        let mut survey = build(clock, &limits);
        survey.set_strict_variables(false);
        survey.set_optimization_level(OptimizationLevel::None);
        Self { engine, survey, limits, clock }
    }

    /// When an evaluation that begins now must have ended, nanoseconds of the clock.
    pub(crate) fn deadline_ns(&self) -> u64 {
        (self.clock)().saturating_add(self.limits.deadline_ms * 1_000_000)
    }
}

fn build(clock: Clock, limits: &Limits) -> Engine {
    let mut engine = Engine::new_raw();
    register_packages(&mut engine);
    functions::register(&mut engine, limits.string_bytes_max);
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
        let late = operations % 32 == 0 && running::is_late(clock());
        late.then(|| DEADLINE.into())
    });
    watch_variables(&mut engine);
    engine
}

/// Ends an evaluation that holds too much, see [`crate::memory`], and knows the constants, which
/// functions of Rhai do not see.
#[expect(deprecated, reason = "Rhai marks what may change between versions so")]
fn watch_variables(engine: &mut Engine) {
    engine.on_var(|name, place, context| {
        let variables = context.scope().iter_raw().map(|(_, _, value)| value);
        let values = variables.chain(context.this_ptr());
        if !running::bears(context.call_level(), values) {
            return Err(EvalAltResult::ErrorTerminated(MEMORY.into(), Position::NONE).into());
        }
        let is_local = place > 0 || context.scope().contains(name);
        Ok(if is_local { None } else { running::constant(name) })
    });
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
