//! `--config FILE`, for `serve` and `ping`.

use std::path::PathBuf;

use crate::common::{self, json};
use crate::support::{Server, fourwave, good, lab};

/// A file that is removed on drop.
struct File(PathBuf);

impl File {
    fn of(name: &str, text: &str) -> Self {
        let path = common::temporary(name).with_extension("toml");
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn serve_and_ping_take_their_flags_from_a_file() {
    let _lab = lab();
    let serving = File::of("serve", "interface = \"fw-a0\"\naddress = \"10.77.0.50/24\"\nidle = \"sleep\"\n");
    let server = Server::start(&format!("echo --listen 10.77.0.50:7 --config {}", serving.path()));
    let asking = File::of("ping", "stack = \"kernel\"\n");
    let ping = |flags: &[&str]| {
        let mut args = vec!["ping", "10.77.0.50:7", "--count", "100", "--json", "--config", asking.path()];
        args.extend(flags);
        json(&good(fourwave("fw-b", &args)))["stack"].clone()
    };
    assert_eq!(ping(&[]), "kernel");
    assert_eq!(ping(&["--stack", "fourwave"]), "fourwave");
    server.stop();
}

#[test]
fn mistakes_are_exit_code_2_and_named() {
    let cases = [("idel = \"busy\"\n", "`idel`"), ("idle = \"lazy\"\n", "`lazy`"), ("idle = busy\n", "line 1")];
    for (text, word) in cases {
        let file = File::of("wrong", text);
        let output = common::run(&["serve", "echo", "--listen", "10.77.0.1:7", "--config", file.path()]);
        let said = common::stderr(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains(word) && said.contains(file.path()), "{said}");
    }
}
