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
use rhai::{Engine, EvalAltResult, Module, OptimizationLevel, Position};

use crate::memory::Scale;
use crate::{Clock, functions};

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
    scale: Scale,
}

impl Running {
    const fn none() -> Self {
        Self { deadline_ns: u64::MAX, actions_max: 0, actions: Vec::new(), scale: Scale::none() }
    }

    /// Begins an evaluation on this thread, which is given so many bytes.
    pub(crate) fn begin(deadline_ns: u64, limits: &Limits, given_bytes: usize) {
        // Each nested call may hold a copy of what was given.
        let scale = Scale::new(
            limits.value_bytes_max + given_bytes,
            limits.total_bytes_max + given_bytes * limits.call_levels_max,
        );
        let actions_max = limits.actions_max;
        let begun = Self { deadline_ns, actions_max, actions: Vec::new(), scale };
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
        let late =
            operations % 32 == 0 && RUNNING.with_borrow(|running| clock() > running.deadline_ns);
        late.then(|| DEADLINE.into())
    });
    weigh(&mut engine);
    engine
}

/// Ends an evaluation that holds too much, see [`crate::memory`].
#[expect(deprecated, reason = "Rhai marks what may change between versions so")]
fn weigh(engine: &mut Engine) {
    engine.on_var(|_, _, context| {
        let variables = context.scope().iter_raw().map(|(_, _, value)| value);
        let values = variables.chain(context.this_ptr());
        let level = context.call_level();
        let bears = RUNNING.with_borrow_mut(|running| running.scale.bears(level, values));
        match bears {
            true => Ok(None),
            false => Err(EvalAltResult::ErrorTerminated(MEMORY.into(), Position::NONE).into()),
        }
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
