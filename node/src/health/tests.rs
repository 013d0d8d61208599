//! Each probe against something that works, and against what does not.

use super::*;
use serde_json::json;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn device(root: &Path) -> Device {
    let variables = vec![("SAMARA_VERSION", "2".to_owned())];
    let activated_at = SystemTime::now() - Duration::from_secs(60);
    Device { root: root.into(), variables, activated_at, mesh: MeshHandle::ended() }
}

async fn look(root: &Path, probe: serde_json::Value) -> Result<(), String> {
    let mut one = json!({"name": "works", "timeout_seconds": 2});
    one.as_object_mut().unwrap().extend(probe.as_object().unwrap().clone());
    check(&serde_json::from_value(one).unwrap(), &device(root)).await
}

fn refused(result: Result<(), String>, words: &[&str]) {
    let error = result.unwrap_err();
    words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in {error}"));
}

#[tokio::test]
async fn a_command_below_the_root_or_anywhere_must_end_with_zero() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("look");
    std::fs::write(&script, "#!/bin/sh\necho first; echo \"$1 of $SAMARA_VERSION\"; exit $2\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let command = |words: &[&str]| json!({"probe": "command", "command": words});
    assert_eq!(look(dir.path(), command(&["look", "x", "0"])).await, Ok(()));
    assert_eq!(look(dir.path(), command(&["/bin/true"])).await, Ok(()));
    refused(look(dir.path(), command(&["look", "x", "3"])).await, &["look ended with exit code 3: x of 2"]);
    refused(look(dir.path(), command(&["look", "x", "21"])).await, &["exit code 21"]);
    refused(look(dir.path(), command(&["/bin/sleep", "60"])).await, &["time limit of 2 s"]);
    refused(look(dir.path(), command(&["absent"])).await, &["cannot run", "absent"]);
}

#[tokio::test]
async fn an_address_must_answer_with_the_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answer in ["200 OK", "503 Service Unavailable", "503 Service Unavailable", "nonsense"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /ready?x=1 HTTP/1.1\r\n"));
            stream
                .write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes())
                .await
                .unwrap();
        }
        // It accepts, and says nothing.
        let _silent = listener.accept().await.unwrap();
        std::future::pending::<()>().await;
    });
    let dir = tempfile::tempdir().unwrap();
    let ask = |status: u16| {
        let url = format!("http://{address}/ready?x=1");
        look(dir.path(), json!({"probe": "http", "url": url, "status": status}))
    };
    assert_eq!(ask(200).await, Ok(()));
    refused(ask(200).await, &["status 503 instead of 200"]);
    assert_eq!(ask(503).await, Ok(()));
    refused(ask(200).await, &["cannot be asked"]);
    refused(ask(200).await, &["did not answer within 2 s"]);
}

#[tokio::test]
async fn something_must_listen() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let probe = json!({"probe": "tcp", "address": address});
    assert_eq!(look(dir.path(), probe.clone()).await, Ok(()));
    drop(listener);
    refused(look(dir.path(), probe).await, &["nothing listens", &address]);
}

#[tokio::test]
async fn a_file_must_be_there_and_written_after_the_activation() {
    let dir = tempfile::tempdir().unwrap();
    let probe = json!({"probe": "file", "path": "run/ready"});
    refused(look(dir.path(), probe.clone()).await, &["run/ready is not there"]);
    std::fs::create_dir(dir.path().join("run")).unwrap();
    let mut file = std::fs::File::create(dir.path().join("run/ready")).unwrap();
    file.write_all(b"yes").unwrap();
    assert_eq!(look(dir.path(), probe.clone()).await, Ok(()));
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    refused(look(dir.path(), probe).await, &["run/ready is older than the activation"]);
}

#[tokio::test]
async fn a_unit_that_systemd_does_not_run_is_not_active() {
    let dir = tempfile::tempdir().unwrap();
    refused(look(dir.path(), json!({"probe": "unit", "unit": "absent.service"})).await, &["systemctl"]);
}
