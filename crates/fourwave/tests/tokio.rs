//! hyper over a veth pair: its server for curl and wrk, its client at nginx. Needs root, iproute2, ethtool, curl, wrk and nginx.

mod lab;

use lab::{Example, KERNELS, Lab, OURS, example, ip, program};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SIZES: [usize; 5] = [0, 1, 1460, 100_000, 4_000_000];

/// A folder with a file of each size, named by it; removed with the test.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("fourwave-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("files")).unwrap();
        let files = Self(folder);
        for size in SIZES {
            std::fs::write(files.file(size), contents(size)).unwrap();
        }
        files
    }

    fn folder(&self) -> PathBuf {
        self.0.join("files")
    }

    fn file(&self, size: usize) -> PathBuf {
        self.folder().join(size.to_string())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn contents(size: usize) -> Vec<u8> {
    let byte = |at: usize| at.to_le_bytes()[..3].iter().fold(7, |mixed: u8, byte| mixed.wrapping_mul(31) ^ byte);
    (0..size).map(byte).collect()
}

/// Standard output of a program in fw-net-b, that must succeed.
fn output(name: &str, args: &[&str]) -> Vec<u8> {
    let output = program("fw-net-b", name).args(args).output().unwrap();
    assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Files of all sizes and back again, one connection for several requests, what isn't there; and many connections at once.
#[test]
fn curl_and_wrk_against_hyper() {
    let _lab = Lab::up();
    let files = Files::new("hyper-server");
    let folder = files.folder();
    for on in ["kernel", "fwn-a"] {
        let _server = Example::start("hyper_server", &[on, &format!("{OURS}:8080"), folder.to_str().unwrap()]);
        let url = format!("http://{OURS}:8080");
        for size in SIZES {
            let got = output("curl", &["-sf", "--max-time", "60", &format!("{url}/{size}")]);
            assert!(got == contents(size), "{on}: {} bytes of {size}", got.len());
            let (data, post) = (format!("@{}", files.file(size).display()), format!("{url}/"));
            let back = output("curl", &["-sf", "--max-time", "60", "--data-binary", &data, &post]);
            assert!(back == contents(size), "{on}: {} bytes back of {size}", back.len());
        }
        let (small, large) = (format!("{url}/1460"), format!("{url}/100000"));
        let wanted = ["-sf", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects}", &small, &large];
        assert_eq!(output("curl", &wanted), b"10", "{on}: a new connection, then none");
        let missing = ["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("{url}/missing")];
        assert_eq!(output("curl", &missing), b"404");

        let report = String::from_utf8(output("wrk", &["-t1", "-c32", "-d2s", &small])).unwrap();
        println!("{on}: {report}");
        assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{on}: {report}");
        let requests = report.lines().find_map(|line| line.trim().split_once(" requests in")).unwrap().0;
        assert!(requests.parse::<u32>().unwrap() >= 32, "{on}: {report}");
    }
}

/// nginx in fw-net-b; ended with the test.
struct Nginx(Child);

impl Nginx {
    fn start(files: &Files) -> Self {
        let (own, folder) = (files.0.display(), files.folder());
        let settings = format!(
            "daemon off; master_process off; user root; pid {own}/pid; error_log stderr; events {{}}\n\
             http {{ access_log off; client_body_temp_path {own}; proxy_temp_path {own}; fastcgi_temp_path {own};\n\
             uwsgi_temp_path {own}; scgi_temp_path {own};\n\
             server {{ listen {KERNELS}:8080; root {}; }} }}\n",
            folder.display()
        );
        let path = files.0.join("nginx.conf");
        std::fs::write(&path, settings).unwrap();
        let mut command = program("fw-net-b", "nginx");
        let nginx = Self(command.arg("-p").arg(&files.0).arg("-c").arg(&path).stderr(Stdio::null()).spawn().unwrap());
        let began = Instant::now();
        while !program("fw-net-b", "curl").args(["-sf", "-o", "/dev/null", &url(1)]).status().unwrap().success() {
            assert!(began.elapsed() < Duration::from_secs(20), "nginx does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn url(size: usize) -> String {
    format!("http://{KERNELS}:8080/{size}")
}

#[test]
fn hyper_fetches_from_nginx() {
    let _lab = Lab::up();
    let files = Files::new("hyper-client");
    // nginx is asked from its own side whether it listens.
    assert!(ip("-n fw-net-b link set lo up"));
    let _nginx = Nginx::start(&files);
    for on in ["kernel", "fwn-a"] {
        for size in SIZES {
            let fetched = example("fw-net-a", "hyper_client").args([on, &url(size)]).output().unwrap();
            let said = String::from_utf8_lossy(&fetched.stderr);
            assert!(fetched.status.success(), "{on}: {said}");
            assert_eq!(said.trim(), "200 OK");
            assert!(fetched.stdout == contents(size), "{on}: {} bytes of {size}", fetched.stdout.len());
        }
        let closed = format!("http://{KERNELS}:8081/");
        let refused = example("fw-net-a", "hyper_client").args([on, &closed]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("ConnectionRefused"), "{on}: {said}");
    }
}
