//! An address of the device itself over HTTP: its status counts, its body is not read.

use http_body_util::Empty;
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Whether the address answers with that status.
pub(super) async fn answers(url: &str, status: u16) -> Result<(), String> {
    match ask(url).await {
        Ok(got) if got == status => Ok(()),
        Ok(got) => Err(format!("{url} answers with status {got} instead of {status}")),
        Err(error) => Err(format!("{url} cannot be asked: {error}")),
    }
}

async fn ask(url: &str) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let uri: Uri = url.parse()?;
    let authority = uri.authority().ok_or("it names no address")?.as_str().to_owned();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let stream = TcpStream::connect(&authority).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDrop(tokio::spawn(connection));
    let request = hyper::Request::get(path).header("host", &authority).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    drop(connection);
    Ok(response.status().as_u16())
}

/// The connection's task ends with the look, also when that is given up.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
