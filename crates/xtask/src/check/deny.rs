//! cargo-deny, installed here when the machine does not have it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::ensure;

use crate::process::Group;
use crate::workspace::Workspace;

const VERSION: &str = "0.20.2";

/// cargo-deny, or its installation under way.
#[derive(Debug)]
pub(super) struct Deny {
    program: PathBuf,
    installation: Option<Group>,
}

/// Looks for cargo-deny, and begins to install it when there is none: that takes minutes, in which the
/// other checks can go on.
pub(super) fn provide(workspace: &Workspace) -> anyhow::Result<Deny> {
    let tools = workspace.target.join("tools");
    let ours = tools.join("bin/cargo-deny");
    for program in [ours.clone(), "cargo-deny".into()] {
        let version = Command::new(&program)
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if version.is_ok_and(|status| status.success()) {
            return Ok(Deny {
                program,
                installation: None,
            });
        }
    }
    println!(
        "cargo-deny {VERSION} is being installed to {}",
        tools.display()
    );
    let mut install = workspace.cargo(["install", "cargo-deny", "--locked", "--quiet"]);
    install.args(["--version", VERSION, "--root"]).arg(&tools);
    // A shared build folder would make the other checks wait for its lock.
    install.env_remove("CARGO_TARGET_DIR");
    Ok(Deny {
        program: ours,
        installation: Some(Group::spawn(&mut install)?),
    })
}

impl Deny {
    /// Advisories are not asked: they need the network, and change without a change of ours.
    pub(super) fn check(self, workspace: &Workspace) -> anyhow::Result<bool> {
        if let Some(installation) = self.installation {
            let status = installation.wait()?;
            ensure!(
                status.success(),
                "cargo-deny could not be installed; see the message above"
            );
        }
        let mut command = Command::new(self.program);
        command.args(["--all-features", "check", "licenses", "bans", "sources"]);
        Ok(Group::spawn(command.current_dir(&workspace.root))?
            .wait()?
            .success())
    }
}
