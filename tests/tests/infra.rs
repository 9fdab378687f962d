//! What `infra/` promises: no container engine is needed to see that it is well formed.

use std::path::PathBuf;
use std::process::Command;

use gnomon_tests::server::{build_folder, repository};
use serde_json::Value;

fn installed(program: &str) -> PathBuf {
    let target = build_folder().parent().expect("a profile is in the build folder").to_owned();
    let path = target.join("venv/bin").join(program);
    assert!(path.is_file(), "{} is missing: run `make setup`", path.display());
    path
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).expect("the file is there")
}

/// The compose file with its merge keys resolved.
fn compose() -> Value {
    let script = "import json, sys; from ruamel.yaml import YAML; \
                  print(json.dumps(YAML(typ='safe').load(open(sys.argv[1]))))";
    let output = Command::new(installed("python"))
        .args(["-c", script])
        .arg(repository().join("infra/compose.yaml"))
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// What is wrong with a service.
fn faults(name: &str, service: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{name}: {what}"));
        }
    };
    // The one that hands volumes over ends at once.
    let is_once = name == "volumes";
    demand(service["read_only"] == true, "its root can be written");
    demand(is_once || service["user"] == "65532:65532", "it may be root");
    demand(is_once || service["restart"] == "unless-stopped", "it is not started again");
    demand(service["healthcheck"].is_object(), "nobody has said how its health is seen");
    for limit in ["mem_limit", "cpus", "pids_limit"] {
        demand(!service[limit].is_null(), &format!("it has no {limit}"));
    }
    let ports = service["ports"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for port in ports {
        demand(port.starts_with("127.0.0.1:"), &format!("{port} is open to everybody"));
    }
    faults
}

#[test]
fn the_compose_file_is_one() {
    let output = Command::new(installed("check-jsonschema"))
        .args(["--builtin-schema", "vendor.compose-spec"])
        .arg(repository().join("infra/compose.yaml"))
        .output()
        .expect("check-jsonschema runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn every_service_is_confined() {
    let compose = compose();
    let services = compose["services"].as_object().expect("there are services");
    let faults: Vec<String> =
        services.iter().flat_map(|(name, service)| faults(name, service)).collect();
    assert_eq!(faults, Vec::<String>::new());
    let wanted = ["alert", "api", "bridge", "gateway", "rrpc", "shadow", "telemetry", "timer"];
    for function in wanted {
        let program = &services[function]["entrypoint"][0];
        let own = format!("gnomon-{function}");
        assert!(program == &own || function == "gateway" && program == "gnomon", "{function}");
    }
}

#[test]
fn a_service_that_is_not_confined_is_found() {
    let open = serde_json::json!({ "ports": ["8080:8080"], "user": "root" });
    assert_eq!(faults("open", &open).len(), 8);
}

/// The image is built by the Makefile's own words, and holds what they make.
#[test]
fn the_image_is_built_as_the_makefile_builds() {
    let (dockerfile, makefile) = (read("infra/Dockerfile"), read("Makefile"));
    let lines: Vec<&str> = dockerfile.lines().collect();
    assert!(lines.contains(&"RUN make static"), "{dockerfile}");
    assert!(!dockerfile.contains("cargo "), "only the Makefile says how to build");
    assert!(lines.contains(&"COPY --from=build /src/target/static/ /usr/local/bin/"));
    assert!(makefile.contains("cp {} target/static/"), "the Makefile makes another folder");
    let channel = read("rust-toolchain.toml");
    let channel = channel.lines().find_map(|line| line.strip_prefix("channel = "));
    let version = channel.expect("a version is pinned").trim_matches('"');
    assert!(dockerfile.contains(&format!("FROM rust:{version}-")), "another compiler: {version}");
}
