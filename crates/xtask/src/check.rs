//! `cargo xtask check`: everything that is not a test.

mod deny;

use std::process::{Command, ExitCode};

use crate::process::Group;
use crate::steps::Steps;
use crate::workspace::{Package, Workspace};

pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let deny = deny::provide(workspace)?;
    let mut steps = Steps::default();
    steps.run("format", || {
        all(&mut [workspace.cargo(["fmt", "--all", "--check"])])
    });
    steps.run("lints", || all(&mut [lints(workspace)]));
    steps.run("docs", || all(&mut [docs(workspace)]));
    steps.run("each feature alone", || all(&mut features(workspace)));
    steps.run("licences, bans, sources", || deny.check(workspace));
    println!("{steps}");
    Ok(if steps.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn lints(workspace: &Workspace) -> Command {
    let what = ["clippy", "--workspace", "--all-targets", "--all-features"];
    workspace.cargo(what.into_iter().chain(["--", "-D", "warnings"]))
}

fn docs(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo(["doc", "--workspace", "--no-deps", "--all-features"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}

/// The version that the feature `latest` of k8s-openapi stands for.
const KUBERNETES: &str = "1.37";

/// In a build folder of their own: k8s-openapi is built anew whenever this variable comes or goes.
fn features(workspace: &Workspace) -> Vec<Command> {
    let folder = workspace.target.join("features-alone");
    let checks = workspace.packages.iter().flat_map(feature_checks);
    checks
        .map(|arguments| {
            let mut command = workspace.cargo(arguments);
            command.arg("--target-dir").arg(&folder);
            // A library leaves this choice to its users, but alone it does not build without one.
            command.env("K8S_OPENAPI_ENABLED_VERSION", KUBERNETES);
            command
        })
        .collect()
}

/// One check without features, and one with each that the package has.
fn feature_checks(package: &Package) -> Vec<Vec<String>> {
    let bare = [
        "check",
        "--quiet",
        "--package",
        &package.name,
        "--no-default-features",
    ];
    let bare = bare.map(str::to_owned).to_vec();
    let mut checks = vec![bare.clone()];
    for feature in package
        .features
        .keys()
        .filter(|feature| *feature != "default")
    {
        checks.push([bare.clone(), vec!["--features".to_owned(), feature.clone()]].concat());
    }
    checks
}

/// Runs all commands, and says which fail.
fn all(commands: &mut [Command]) -> anyhow::Result<bool> {
    let mut success = true;
    for command in commands {
        if !Group::spawn(command)?.wait()?.success() {
            eprintln!("failed: {}", words(command));
            success = false;
        }
    }
    Ok(success)
}

fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|word| word.to_string_lossy());
    std::iter::once("cargo".into())
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_is_checked_alone() {
        let features = ["default", "mock", "serde"].map(|name| (name.to_owned(), Vec::new()));
        let package = Package {
            name: "kv-core".to_owned(),
            features: features.into(),
            targets: Vec::new(),
        };
        let checks = feature_checks(&package);
        let ends: Vec<_> = checks.iter().filter_map(|check| check.last()).collect();
        assert_eq!(ends, ["--no-default-features", "mock", "serde"]);
    }
}
