//! The README and the pages in `docs/`. Their Rust code runs with `cargo test -p kv-tests --doc`; the
//! tests below hold the rest of them to the workspace.

/// Makes the code of a page tests of documentation.
macro_rules! pages {
    ($($name:ident $path:literal,)*) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!($path)]
            mod $name {}
        )*

        /// Every page with its path from this file.
        #[cfg(test)]
        const PAGES: &[(&str, &str)] = &[$(($path, include_str!($path)),)*];
    };
}

pages! {
    readme "../../README.md",
    contributing "../../CONTRIBUTING.md",
    security "../../SECURITY.md",
    changelog "../../CHANGELOG.md",
    architecture "../../docs/architecture.md",
    commit_protocol "../../docs/commit-protocol.md",
    contract "../../docs/contract.md",
    format "../../docs/format.md",
    operations "../../docs/operations.md",
    write_a_backend "../../docs/write-a-backend.md",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::PAGES;

    fn path(page: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(page)
    }

    /// What stands between `open` and the next `close`, everywhere in `text`.
    fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
        text.split(open)
            .skip(1)
            .filter_map(move |rest| rest.split_once(close))
            .map(|(inside, _)| inside)
    }

    /// The names of the headings of a page, as links write them.
    fn anchors(page: &str) -> BTreeSet<String> {
        let headings = page.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|heading| {
                let text = heading.trim_start_matches('#').trim().to_lowercase();
                let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
                text.chars()
                    .filter(kept)
                    .collect::<String>()
                    .replace(' ', "-")
            })
            .collect()
    }

    #[test]
    fn every_page_in_docs_is_listed() {
        let directory = path("../../docs");
        let pages = std::fs::read_dir(directory).unwrap();
        for page in pages.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            let listed = PAGES.iter().any(|(path, _)| path.ends_with(&page));
            assert!(
                listed || !page.ends_with(".md"),
                "{page} is not in tests/src/docs.rs"
            );
        }
    }

    #[test]
    fn links_between_the_pages_lead_somewhere() {
        let mut links = 0;
        for (name, page) in PAGES {
            for link in between(page, "](", ')').filter(|link| !link.starts_with("http")) {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = match file {
                    "" => path(name),
                    file => path(name).parent().unwrap().join(file),
                };
                assert!(target.exists(), "{name}: {link}");
                let text = std::fs::read_to_string(&target).unwrap_or_default();
                assert!(
                    anchor.is_empty() || anchors(&text).contains(anchor),
                    "{name}: {link}"
                );
                links += 1;
            }
        }
        assert!(links > 10, "{links} links: they are not found any more");
    }

    #[test]
    fn files_of_the_workspace_that_the_pages_name_exist() {
        let roots = [
            "crates/",
            "docs/",
            "tests/",
            "examples/",
            ".ci/",
            ".github/",
        ];
        for (name, page) in PAGES {
            for word in between(page, "`", '`') {
                let is_path = roots.iter().any(|root| word.starts_with(root));
                if is_path && !word.contains([' ', '*', '<']) {
                    assert!(path("../..").join(word).exists(), "{name}: `{word}`");
                }
            }
        }
    }

    /// Each package and example of each `cargo run` and `cargo test`.
    #[test]
    fn commands_of_cargo_name_what_there_is() {
        let folders = std::fs::read_dir(path("../../crates")).unwrap();
        let folders = folders.map(|entry| entry.unwrap().path());
        let folders = folders.chain([path("../../tests"), path("../../examples")]);
        let manifests: Vec<String> = folders
            .filter_map(|folder| std::fs::read_to_string(folder.join("Cargo.toml")).ok())
            .collect();
        let is_package = |name: &str| {
            let line = format!("name = \"{name}\"");
            manifests.iter().any(|manifest| manifest.contains(&line))
        };
        let mut named = 0;
        for (name, page) in PAGES {
            for line in page.lines().filter(|line| line.contains("cargo ")) {
                let words: Vec<&str> = line.split([' ', '`']).collect();
                for pair in words.windows(2) {
                    match pair {
                        ["-p" | "--package", package] => {
                            assert!(is_package(package), "{name}: {line}");
                            named += 1;
                        }
                        ["--example", example] => {
                            let folder = path("../../examples").join(example);
                            let is_there = folder.with_extension("rs").exists() || folder.exists();
                            assert!(is_there, "{name}: {line}");
                            named += 1;
                        }
                        _ => {}
                    }
                }
            }
        }
        assert!(named > 3, "{named} names: they are not found any more");
    }
}
