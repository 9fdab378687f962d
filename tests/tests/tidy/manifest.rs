//! A Cargo.toml as the checks see it, and who may depend on whom.

/// One dependency.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// Line, 1-based.
    pub(crate) line: usize,
    /// Name of the package.
    pub(crate) package: String,
    /// Whether it is one of the tests only.
    pub(crate) for_tests: bool,
}

/// What the checks read of a manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// Name of the package; empty for the virtual manifest.
    pub(crate) package: String,
    /// Its dependencies of all kinds.
    pub(crate) dependencies: Vec<Dependency>,
    /// Lines of the file without comments: section, number of the line, line.
    lines: Vec<(String, usize, String)>,
}

impl Manifest {
    /// Reads what cargo accepts already: no more of TOML than tables, keys and values.
    pub(crate) fn new(path: &str, raw: &str) -> Self {
        let mut section = String::new();
        let mut lines = Vec::new();
        for (index, line) in raw.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.starts_with('[') && line.ends_with(']') {
                section = line.trim_matches(['[', ']']).to_owned();
            }
            if !line.is_empty() {
                lines.push((section.clone(), index + 1, line.to_owned()));
            }
        }
        let mut manifest =
            Self { path: path.to_owned(), package: String::new(), dependencies: Vec::new(), lines };
        manifest.package = manifest.value("package", "name").unwrap_or_default();
        manifest.dependencies = manifest.lines.iter().filter_map(dependency).collect();
        manifest
    }

    fn value(&self, section: &str, key: &str) -> Option<String> {
        let of_section = self.lines.iter().filter(|(at, ..)| at == section);
        of_section.filter_map(|(.., line)| line.split_once('=')).find_map(|(found, value)| {
            (found.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
        })
    }

    /// Whether the file has a section of that name; the line on which it begins.
    fn section(&self, name: &str) -> Option<usize> {
        self.lines.iter().find(|(section, ..)| section == name).map(|(_, line, _)| *line)
    }
}

fn dependency((section, line, text): &(String, usize, String)) -> Option<Dependency> {
    let (kind, named) = match section.rsplit_once("dependencies.") {
        Some((kind, name)) => (kind, Some(name)),
        None => (section.strip_suffix("dependencies")?, None),
    };
    if kind.starts_with("workspace.") {
        return None;
    }
    let for_tests = kind.ends_with("dev-");
    let renamed = text.split_once("package =").map(|(_, rest)| rest.trim().trim_start_matches('"'));
    let package = match (renamed, named) {
        (Some(renamed), _) => renamed.split('"').next()?,
        (None, Some(name)) if text.starts_with('[') => name,
        (None, None) if !text.starts_with('[') => text.split(['.', '=', ' ']).next()?,
        _ => return None,
    };
    Some(Dependency { line: *line, package: package.trim_matches('"').to_owned(), for_tests })
}

/// Who may not name whom, and what to do instead.
struct Ban {
    who: fn(&Manifest) -> bool,
    whom: fn(&Dependency) -> bool,
    instead: &'static str,
}

fn is_function(package: &str) -> bool {
    ["telemetry", "shadow", "rrpc", "alert", "timer", "api", "bridge"]
        .iter()
        .any(|name| package.strip_prefix("gnomon-") == Some(name))
}

const CLIENTS_OF_THE_WORLD: [&str; 8] = [
    "rhai",
    "async-nats",
    "redis",
    "fred",
    "lambda_runtime",
    "rumqttc",
    "mqtt-protocol-core",
    "paho-mqtt",
];

const BANS: [Ban; 7] = [
    Ban {
        who: |manifest| manifest.package == "gnomon-model",
        whom: |dependency| {
            dependency.package.starts_with("gnomon") || dependency.package == "tokio"
        },
        instead: "the model stands alone: move what needs it to the crate that has it",
    },
    Ban {
        who: |manifest| matches!(manifest.package.as_str(), "gnomon-dialect" | "gnomon-rules"),
        whom: |dependency| {
            dependency.package.starts_with("gnomon") && dependency.package != "gnomon-model"
        },
        instead: "dialect and rules know the model only: let a function bring them together",
    },
    Ban {
        who: |manifest| manifest.package == "gnomon-host",
        whom: |dependency| CLIENTS_OF_THE_WORLD.contains(&dependency.package.as_str()),
        instead: "the host knows ports only: put it behind one in gnomon-adapters or gnomon-gateway",
    },
    Ban {
        who: |manifest| manifest.package == "gnomon-host",
        whom: |dependency| {
            let own = ["gnomon-model", "gnomon-adapters"].contains(&dependency.package.as_str());
            dependency.package.starts_with("gnomon") && !own
                || dependency.package == "gnomon-adapters" && !dependency.for_tests
        },
        instead: "the host stands on the model; adapters, rules and dialects stand on the host",
    },
    Ban {
        who: |manifest| is_function(&manifest.package),
        whom: |dependency| is_function(&dependency.package),
        instead: "one function never names another: send it an envelope, or move the code below both",
    },
    Ban {
        who: |manifest| manifest.package != "gnomon-rules",
        whom: |dependency| dependency.package == "rhai",
        instead: "Rhai is known to gnomon-rules only: ask it for what is needed",
    },
    Ban {
        who: |manifest| manifest.package == "gnomon-tests",
        whom: |dependency| dependency.package.starts_with("gnomon"),
        instead: "the tests see what a client sees: write it again by hand",
    },
];

/// All that is wrong with a manifest.
pub(crate) fn check(manifest: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut say = |line: usize, what: &str| wrong.push(format!("{}:{line}: {what}", manifest.path));
    if let Some(line) = manifest.section("features") {
        say(line, "a feature of ours: link it always and choose by settings");
    }
    if manifest.package.is_empty() {
        return wrong;
    }
    if manifest.value("package", "description").is_none_or(|text| text.is_empty()) {
        say(1, "no description: say in one line what the package is for");
    }
    if manifest.value("lints", "workspace").as_deref() != Some("true") {
        say(1, "lints of its own: write `[lints]` with `workspace = true`");
    }
    for dependency in &manifest.dependencies {
        let banned = BANS.iter().filter(|ban| (ban.who)(manifest) && (ban.whom)(dependency));
        for ban in banned {
            let what =
                format!("{} names {}: {}", manifest.package, dependency.package, ban.instead);
            say(dependency.line, &what);
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(package: &str, rest: &str) -> Vec<String> {
        let raw = format!(
            "[package]\nname = \"{package}\"\ndescription = \"d\"\n[lints]\nworkspace = true\n{rest}"
        );
        check(&Manifest::new("p/Cargo.toml", &raw))
    }

    #[test]
    fn dependencies_are_found_in_every_form() {
        let raw = "[dependencies]\na.workspace = true\nb = \"1\" # why\nc = { package = \"d\" }\n\
                   [dev-dependencies]\ne.workspace = true\n[target.'cfg(unix)'.dependencies]\nf = \"1\"\n\
                   [dependencies.g]\nversion = \"1\"\n[workspace.dependencies]\nh = \"1\"\n";
        let manifest = Manifest::new("Cargo.toml", raw);
        let names: Vec<_> =
            manifest.dependencies.iter().map(|d| (d.package.as_str(), d.for_tests)).collect();
        let expected =
            [("a", false), ("b", false), ("d", false), ("e", true), ("f", false), ("g", false)];
        assert_eq!(names, expected);
    }

    #[test]
    fn every_direction_is_held() {
        for (who, whom, allowed) in [
            ("gnomon-model", "serde", true),
            ("gnomon-model", "gnomon-host", false),
            ("gnomon-model", "tokio", false),
            ("gnomon-dialect", "gnomon-model", true),
            ("gnomon-dialect", "gnomon-rules", false),
            ("gnomon-rules", "gnomon-dialect", false),
            ("gnomon-rules", "gnomon-adapters", false),
            ("gnomon-rules", "rhai", true),
            ("gnomon-host", "rhai", false),
            ("gnomon-host", "async-nats", false),
            ("gnomon-host", "mqtt-protocol-core", false),
            ("gnomon-host", "gnomon-rules", false),
            ("gnomon-host", "gnomon-adapters", false),
            ("gnomon-gateway", "mqtt-protocol-core", true),
            ("gnomon-telemetry", "gnomon-shadow", false),
            ("gnomon-telemetry", "gnomon-rules", true),
            ("gnomon-telemetry", "rhai", false),
            ("gnomon-tests", "gnomon-model", false),
            ("gnomon", "gnomon-telemetry", true),
        ] {
            let found = problems(who, &format!("[dependencies]\n{whom}.workspace = true\n"));
            assert_eq!(found.is_empty(), allowed, "{who} -> {whom}: {found:?}");
        }
        let tested =
            problems("gnomon-host", "[dev-dependencies]\ngnomon-adapters.workspace = true\n");
        assert_eq!(tested, Vec::<String>::new());
    }

    #[test]
    fn a_manifest_tells_where_it_is_wrong() {
        let found = problems("gnomon-model", "[dependencies]\ngnomon-host.workspace = true\n");
        assert!(
            found[0].starts_with("p/Cargo.toml:7: gnomon-model names gnomon-host"),
            "{found:?}"
        );
        assert_eq!(problems("gnomon", "[features]\ndefault = []\n").len(), 1);
        assert_eq!(check(&Manifest::new("p/Cargo.toml", "[package]\nname = \"x\"\n")).len(), 2);
    }
}
