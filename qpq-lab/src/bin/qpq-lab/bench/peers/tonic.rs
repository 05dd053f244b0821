//! tonic: a unary call that echoes, over TLS and HTTP/2. Written out is what its build script makes
//! of a `.proto` file, as far as it is needed.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity, Server,
    ServerTlsConfig,
};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::{ECHO, LOOPBACK};
use crate::bench::drive::DriveArgs;
use crate::bench::identity::Identity;
use crate::bench::meter::Meter;
use crate::bench::{Failure, Outcome};

const PATH: &str = "/bench.Echo/Echo";

/// What goes there and comes back.
#[derive(Clone, PartialEq, prost::Message)]
struct Echo {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
}

/// The service that echoes.
#[derive(Clone)]
struct EchoServer;

impl NamedService for EchoServer {
    const NAME: &'static str = "bench.Echo";
}

impl UnaryService<Echo> for EchoServer {
    type Response = Echo;
    type Future = BoxFuture<Response<Echo>, Status>;

    fn call(&mut self, request: Request<Echo>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(request.into_inner())) })
    }
}

impl Service<http::Request<Body>> for EchoServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Echo, Echo>::default());
            Ok(grpc.unary(EchoServer, request).await)
        })
    }
}

/// Says its address and echoes.
pub async fn serve(identity: &Identity) -> Outcome<()> {
    let [certificate, key] = identity.pem()?;
    let tls = ServerTlsConfig::new().identity(TlsIdentity::from_pem(certificate, key));
    let incoming = TcpIncoming::bind(LOOPBACK)
        .map_err(Failure::of("tonic's server"))?
        .with_nodelay(Some(true));
    let address = incoming
        .local_addr()
        .map_err(Failure::of("tonic's server"))?;
    println!("{address}");
    Server::builder()
        .tls_config(tls)
        .map_err(Failure::of("TLS"))?
        .add_service(EchoServer)
        .serve_with_incoming(incoming)
        .await
        .map_err(Failure::of("tonic's server"))
}

/// Calls until the process ends.
pub async fn call(args: &DriveArgs, meter: Arc<Meter>) -> Outcome<()> {
    let [certificate, _] = Identity::of(&args.dir).pem()?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(certificate))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", args.address))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(Failure::of("tonic's client"))?;
    let mut channels = Vec::new();
    for _ in 0..args.load.connections {
        let channel = endpoint.connect().await;
        channels.push(channel.map_err(Failure::of("tonic's client"))?);
    }
    meter.begin();
    for channel in &channels {
        for _ in 0..args.load.in_flight {
            let (mut grpc, meter) = (Grpc::new(channel.clone()), Arc::clone(&meter));
            tokio::spawn(async move {
                let data = Bytes::from(vec![7; ECHO]);
                loop {
                    let started = meter.start();
                    if let Err(why) = echo(&mut grpc, data.clone()).await {
                        return meter.fail(why);
                    }
                    meter.answered(started);
                }
            });
        }
    }
    // The measurement ends the process.
    std::future::pending().await
}

async fn echo(grpc: &mut Grpc<Channel>, data: Bytes) -> Result<(), String> {
    grpc.ready().await.map_err(|e| e.to_string())?;
    let path = PathAndQuery::from_static(PATH);
    let codec = ProstCodec::<Echo, Echo>::default();
    let answer = grpc.unary(Request::new(Echo { data }), path, codec).await;
    match answer.map_err(|e| e.to_string())?.into_inner().data.len() {
        ECHO => Ok(()),
        other => Err(format!("tonic echoed {other} bytes")),
    }
}
