//! `fourwave-fuzz unpack|pack TARGET FOLDER`: a target's corpus as the files libFuzzer works with, and back.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// What is committed of a corpus: it is replayed by every `cargo test`.
const MAX_INPUTS: usize = 3000;
const MAX_BYTES: usize = 128 << 10;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["unpack", target, folder] => fuzz::unpack(target, folder),
        ["pack", target, folder] => fuzz::pack(target, folder, MAX_INPUTS, MAX_BYTES),
        _ => {
            eprintln!("usage: fourwave-fuzz unpack|pack TARGET FOLDER");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(inputs) => {
            println!("{} inputs", inputs);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
