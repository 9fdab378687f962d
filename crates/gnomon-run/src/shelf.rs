//! Hot reload: a change under the rules or schemas folder is taken up, a broken one is told and
//! the last good version stays.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use gnomon_host::watch::Watch;
use gnomon_model::Models;
use gnomon_rules::RuleSet;
use notify::{RecursiveMode, Watcher};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::library::{no_rules, read_models, read_rules};

/// Editors write in bursts: wait until nothing has changed for this long.
const SETTLE: Duration = Duration::from_millis(100);

/// Models and rules in use. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Shelf {
    /// Thing models by product.
    pub models: Arc<ArcSwap<Models>>,
    /// The rules.
    pub rules: Arc<ArcSwap<RuleSet>>,
    /// What is wrong on disk now, one line each.
    problems: Arc<Mutex<Vec<String>>>,
    schemas_dir: PathBuf,
    rules_dir: PathBuf,
}

impl Shelf {
    /// Reads both folders; what is wrong can be asked for with [`Shelf::problems`].
    pub fn open(schemas_dir: PathBuf, rules_dir: PathBuf) -> Self {
        let shelf = Self {
            models: Arc::new(ArcSwap::from_pointee(Models::new())),
            rules: Arc::new(ArcSwap::from_pointee(no_rules())),
            problems: Arc::default(),
            schemas_dir,
            rules_dir,
        };
        shelf.read();
        shelf
    }

    /// The thing models now.
    #[must_use]
    pub fn models(&self) -> Arc<Models> {
        self.models.load_full()
    }

    /// The rules now.
    #[must_use]
    pub fn rules(&self) -> RuleSet {
        (**self.rules.load()).clone()
    }

    /// What is wrong on disk now, one line each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The listing of rules with how each fares in this process, and the problems: the document of
    /// `GET /v1/rules`.
    #[must_use]
    pub fn document(&self, watch: &Watch) -> Value {
        let health = watch.rules();
        let listing = self.rules.load().listing();
        let rules = listing.iter().map(|rule| {
            let mut document = serde_json::to_value(rule).unwrap_or_default();
            let fares = health.get(&rule.name).cloned().unwrap_or_default();
            if let (Some(document), Ok(Value::Object(fares))) =
                (document.as_object_mut(), serde_json::to_value(fares))
            {
                document.extend(fares);
            }
            document
        });
        json!({ "rules": rules.collect::<Vec<_>>(), "problems": self.problems() })
    }

    fn read(&self) {
        let models = read_models(&self.schemas_dir, &self.models.load());
        let rules = read_rules(&self.rules_dir, &self.rules.load());
        self.models.store(Arc::new(models.good));
        self.rules.store(Arc::new(rules.good));
        let mut problems = models.problems;
        problems.extend(rules.problems);
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }

    fn reread(&self) {
        self.read();
        let problems = self.problems();
        for problem in &problems {
            warn!(problem, "kept the last good version");
        }
        let (models, rules) = (self.models.load().len(), self.rules.load().listing().len());
        info!(models, rules, problems = problems.len(), "reloaded models and rules");
        metrics::gauge!("gnomon_library_problems").set(problems.len() as f64);
    }

    /// Watches both folders until `stop` is cancelled.
    pub async fn watch(self, stop: CancellationToken) {
        let (changed, mut changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let read_only = event.as_ref().is_ok_and(|event| event.kind.is_access());
            if !read_only {
                // A full channel means that a reload is due already.
                let _ = changed.try_send(());
            }
        })
        .and_then(|mut watcher| {
            watcher.watch(&self.rules_dir, RecursiveMode::Recursive)?;
            watcher.watch(&self.schemas_dir, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let _watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                warn!(error = %error, "watch rules and schemas: changes need a restart");
                return;
            }
        };
        // What changed before the folders were watched.
        self.reread();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = changes.recv() => {}
            }
            while tokio::time::timeout(SETTLE, changes.recv()).await.is_ok() {}
            self.reread();
        }
    }
}
