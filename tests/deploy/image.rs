//! The image: its Dockerfile, and its files started as a container would start them.

use serde_json::Value;

use super::tools::{deployed, output, root, tool};

#[test]
fn the_dockerfile_is_clean() {
    output(tool("hadolint").args(["--failure-threshold", "style"]).arg(deployed("image/Dockerfile")));
}

/// `deploy/image/try` compares by itself; what it saw is looked at here once more, so that it cannot pass by seeing
/// nothing.
#[test]
fn the_binary_runs_alone_in_an_empty_root_as_nobody() {
    let image = root().join("target/image");
    assert!(image.join("dpop-gate").exists(), "the image is not laid out; `bash tests/run` does it");
    let seen: Value = serde_json::from_str(&output(tool("python3").arg(deployed("image/try")).arg(image))).unwrap();
    assert_eq!(seen["uid"], 65532, "{seen}");
    assert_eq!(seen["asked_for"], "id.example.test", "names are resolved: {seen}");
    assert!(seen["ready"] == true && seen["roots"] == true && seen["without_roots"] == true, "{seen}");
    assert!(seen["resident_kib"].as_u64().unwrap() < 64 * 1024, "the sidecar asks for 32 MiB: {seen}");
}

/// Where the Dockerfile and `build` could part: the command, the paths, and the user that manifests rely on.
#[test]
fn the_script_builds_what_the_dockerfile_builds() {
    let read = |name: &str| std::fs::read_to_string(deployed(name)).unwrap();
    let (dockerfile, build) = (read("image/Dockerfile"), read("image/build"));
    let command = "--locked --no-default-features --bin dpop-gate -- -C target-feature=+crt-static";
    assert!(dockerfile.contains(command) && build.contains(command));
    let stage = dockerfile.split("FROM scratch").nth(1).unwrap();
    for line in stage.lines().filter(|line| line.starts_with("COPY")) {
        let source = line.split(' ').nth(2).unwrap();
        assert!(
            build.contains(source.trim_start_matches('/').rsplit_once('/').unwrap().0),
            "build lays out no {source}"
        );
    }
    let user = stage.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    let user = user.split(':').next().unwrap();
    assert!(read("sidecar/deployment.yaml").contains(&format!("runAsUser: {user}")));
}
