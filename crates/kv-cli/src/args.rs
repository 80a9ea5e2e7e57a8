use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use kv_core::{Key, Revision};

use crate::duration;
use crate::store::Location;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    any other failure
  2    wrong usage
  3    the key or the bucket is not there
  4    conflict: the key exists, or is not at the revision that was asked for
  5    the store is unavailable or asks to slow down; nothing was changed, try again
  6    it is unknown whether the change was made; read the key to find out
  7    forbidden
  8    `kv check` has found damage
  130  interrupted; a change that was under way may have been made
       (`kv watch` is ended so, with 0)";

/// Reads and writes the keys of a bucket: in the ConfigMaps or Secrets of a cluster, or in a file.
#[derive(Debug, Parser)]
#[command(name = "kv", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The bucket: `file:PATH`, `configmap:NAMESPACE/BUCKET`, `secret:NAMESPACE/BUCKET`, or
    /// `memory:`, which is empty each time. Without it, a file in the data directory of the user
    /// [default: file:$XDG_DATA_HOME/kv/default.redb]
    #[arg(long, global = true, env = "KV_STORE", value_name = "STORE")]
    pub(crate) store: Option<Location>,

    /// How long to wait for the store, such as `500ms`, `30s` or `2m`
    #[arg(long, global = true, default_value = "30s", value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Duration,

    /// The kubeconfig file, where it is not the usual one
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig, where it is not the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Keep the bucket in its one object, as every program that shares it has to where a role names that
    /// object
    #[arg(long, global = true, env = "KV_SINGLE_OBJECT")]
    pub(crate) single_object: bool,

    /// Tell more on standard error; twice or three times for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a value, and print the revision that the key has now
    Put(Put),
    /// Print the value of a key, byte for byte
    Get(Get),
    /// Remove a key
    Delete(Delete),
    /// List the keys, in the order of their bytes
    List(List),
    /// Show every change as it is made, until it is interrupted
    Watch(Watch),
    /// Remove the bucket and everything in it
    Teardown(Teardown),
    /// Tell how full the bucket is
    Usage(Usage),
    /// Find out what is damaged in a bucket of a cluster, and what can still be read
    Check(Check),
}

#[derive(Debug, clap::Args)]
#[command(
    override_usage = "kv put [OPTIONS] <KEY> <VALUE|--file <FILE>>",
    group = clap::ArgGroup::new("source").required(true).args(["value", "file"])
)]
pub(crate) struct Put {
    /// The key
    pub(crate) key: Key,

    /// The value; `-` reads it from standard input, byte for byte
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: Option<String>,

    /// Take the value from a file, byte for byte
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Let the key expire after this time, such as `30s`, `12h` or `7d`
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) ttl: Option<Duration>,

    /// Only if there is no such key
    #[arg(long, conflicts_with = "if_revision")]
    pub(crate) create: bool,

    /// Only if the key is at this revision
    #[arg(long, value_name = "REVISION")]
    pub(crate) if_revision: Option<Revision>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// The key
    pub(crate) key: Key,

    /// `raw` is the bare value; `json` has its revision and expiry, too
    #[arg(short, long, value_enum, default_value_t = GetOutput::Raw)]
    pub(crate) output: GetOutput,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum GetOutput {
    Raw,
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// The key
    pub(crate) key: Key,

    /// Only if the key is at this revision
    #[arg(long, value_name = "REVISION")]
    pub(crate) if_revision: Option<Revision>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only keys that begin with this text
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,

    /// `text` is a table for people; `json` is one object on each line
    #[arg(short, long, value_enum, default_value_t = TextOrJson::Text)]
    pub(crate) output: TextOrJson,

    /// Show the values, too
    #[arg(long)]
    pub(crate) values: bool,

    /// At most this many keys
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Only keys that begin with this text
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,

    /// `text` is one line for each change; `json` is one object on each line
    #[arg(short, long, value_enum, default_value_t = TextOrJson::Text)]
    pub(crate) output: TextOrJson,

    /// Show the values, too
    #[arg(long)]
    pub(crate) values: bool,

    /// Begin with the first change after this revision, instead of what is there. Where the store
    /// no longer knows these changes, what is there comes first
    #[arg(long, value_name = "REVISION", conflicts_with = "now")]
    pub(crate) after: Option<Revision>,

    /// Begin with the next change, instead of what is there
    #[arg(long)]
    pub(crate) now: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TextOrJson {
    Text,
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Teardown {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Usage {
    /// `text` is for people; `json` is one object
    #[arg(short, long, value_enum, default_value_t = TextOrJson::Text)]
    pub(crate) output: TextOrJson,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// `text` is for people; `json` is one object
    #[arg(short, long, value_enum, default_value_t = TextOrJson::Text)]
    pub(crate) output: TextOrJson,

    /// First remove the segments that nothing needs, unless something is damaged
    #[arg(long)]
    pub(crate) repair: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_value_has_exactly_one_source() {
        let parses = |words: &[&str]| {
            let words = ["kv", "put", "k"].iter().chain(words);
            Args::try_parse_from(words).is_ok()
        };
        assert!(parses(&["v"]) && parses(&["--file", "f"]) && parses(&["-"]) && parses(&["-1"]));
        assert!(!parses(&[]) && !parses(&["v", "--file", "f"]));
        assert!(!parses(&["v", "--create", "--if-revision", "1"]));
    }
}
