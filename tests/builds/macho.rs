//! What `make cross-test` says of a program for macOS, with small files that have one fault each.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const MAIN: u32 = 0x8000_0028;
const SYSTEM: &str = "/usr/lib/libSystem.B.dylib";
const PAGE: usize = 4096;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A load command of this number with this content.
fn command(number: u32, content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    content.resize(content.len().next_multiple_of(8), 0);
    let length = u32::try_from(8 + content.len()).unwrap();
    [words(&[number, length]), content].concat()
}

fn library(number: u32, name: &str) -> Vec<u8> {
    command(
        number,
        &[words(&[24, 0, 0, 0]), name.as_bytes().to_vec(), vec![0]].concat(),
    )
}

/// Load commands of a program that is fine: the library, an entry, macOS 11.0.
fn fine() -> Vec<Vec<u8>> {
    let built = command(0x32, &words(&[1, 11 << 16, 11 << 16, 0]));
    vec![library(0xC, SYSTEM), command(MAIN, &[0; 16]), built]
}

/// A file of this processor with these load commands, and some bytes behind them.
fn file(cpu: u32, commands: &[Vec<u8>]) -> Vec<u8> {
    let all = commands.concat();
    let count = u32::try_from(commands.len()).unwrap();
    let size = u32::try_from(all.len()).unwrap();
    let header = words(&[0xFEED_FACF, cpu, 0, 2, count, size, 0, 0]);
    let mut file = [header, all].concat();
    file.resize(2 * PAGE + 100, 7);
    file
}

/// The same, signed as Apple's ARM processors want it.
fn signed(cpu: u32, mut commands: Vec<Vec<u8>>) -> Vec<u8> {
    let start = 2 * PAGE + 100;
    let slots = start.div_ceil(PAGE);
    let hashes = 44;
    let directory = hashes + 32 * slots;
    let number = |n: usize| u32::try_from(n).unwrap();
    commands.push(command(
        0x1D,
        &words(&[number(start), number(20 + directory)]),
    ));
    let mut file = file(cpu, &commands);
    let big = |words: &[usize]| -> Vec<u8> {
        words
            .iter()
            .flat_map(|w| number(*w).to_be_bytes())
            .collect()
    };
    let mut blob = big(&[0xFADE_0CC0, 20 + directory, 1, 0, 20]);
    blob.extend(big(&[
        0xFADE_0C02,
        directory,
        0x20400,
        2,
        hashes,
        0,
        0,
        slots,
        start,
    ]));
    blob.extend([32, 2, 0, 12]);
    blob.extend([0; 4]);
    for page in file.chunks(PAGE) {
        blob.extend(sha256(page));
    }
    file.extend(blob);
    file
}

fn sha256(data: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(data).to_vec()
}

/// What the script says of a file, where this machine has Python.
fn said(arch: &str, file: &[u8]) -> Option<Result<String, String>> {
    let name = format!("zemi-macho-{}-{:p}", std::process::id(), file.as_ptr());
    let path = std::env::temp_dir().join(name);
    fs::write(&path, file).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cross/macho.py");
    let mut command = Command::new("python3");
    command
        .arg(script)
        .arg(arch)
        .arg(&path)
        .stdin(Stdio::null());
    let output = command.output();
    fs::remove_file(&path).unwrap();
    let Ok(output) = output else {
        println!("SKIPPED: python3 is not installed");
        return None;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    })
}

const X86: u32 = 0x0100_0007;
const ARM: u32 = 0x0100_000C;

#[test]
fn a_fine_program_for_macos_passes() {
    for (arch, file) in [
        ("x86_64", file(X86, &fine())),
        ("x86_64", signed(X86, fine())),
        ("aarch64", signed(ARM, fine())),
    ] {
        let Some(said) = said(arch, &file) else {
            return;
        };
        let said = said.unwrap();
        assert!(
            said.contains(&format!("Mach-O for {arch}, macOS 11.0 or later")),
            "{said}"
        );
    }
}

#[test]
fn a_program_that_macos_would_not_run_does_not_pass() {
    let with = |more: Vec<u8>| file(X86, &[fine(), vec![more]].concat());
    let mut changed = signed(ARM, fine());
    changed[PAGE + 1] ^= 1;
    let mut short = file(X86, &fine());
    short.truncate(60);
    let elsewhere = command(0x32, &words(&[2, 11 << 16, 11 << 16, 0]));
    for (arch, file, wanted) in [
        (
            "x86_64",
            fs::read(std::env::current_exe().unwrap()).unwrap(),
            "expected magic",
        ),
        ("x86_64", file(ARM, &fine()), "expected processor"),
        (
            "aarch64",
            file(ARM, &fine()),
            "expected a signature, found none",
        ),
        ("aarch64", changed, "page 1 differs"),
        (
            "x86_64",
            with(library(0xC, "/usr/lib/libiconv.2.dylib")),
            "libiconv.2.dylib",
        ),
        (
            "x86_64",
            with(library(0x8000_0018, "@rpath/libz.dylib")),
            "libz.dylib",
        ),
        (
            "x86_64",
            with(command(0x8000_001C, b"\x0c\0\0\0/opt/lib\0")),
            "no search path",
        ),
        ("x86_64", with(elsewhere), "expected platform 1"),
        ("x86_64", file(X86, &fine()[..1]), "expected an entry"),
        (
            "x86_64",
            file(X86, &fine()[1..]),
            "as the one library, found []",
        ),
        (
            "x86_64",
            file(X86, &fine()[..2]),
            "expected the oldest macOS",
        ),
        ("x86_64", short, "within the file"),
        ("x86_64", vec![0xCF], "found a shorter file"),
    ] {
        let Some(said) = said(arch, &file) else {
            return;
        };
        let said = said.unwrap_err();
        assert!(said.contains(wanted), "expected `{wanted}` in: {said}");
    }
}
