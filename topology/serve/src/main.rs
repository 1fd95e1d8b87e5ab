//! The program `heartstream-serve`.

mod arguments;

use std::process::ExitCode;

use clap::Parser;
use heartstream::Heartstream;
use heartstream_serve::{Server, known_tags};
use tracing_subscriber::EnvFilter;

use arguments::{Arguments, Failed};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse(); // a wrong option ends the process here, with exit code 2
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,kameo=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match serve(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(message)) => {
            eprintln!("heartstream-serve: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), Failed> {
    let (checkpoint, mut options) = (arguments.checkpoint()?, arguments.options()?);
    options.tags = known_tags(&checkpoint);
    let engine = Heartstream::builder().model(checkpoint).build().await?;
    let library = options.library.clone();
    let server = Server::bind(engine, options).await?;
    println!("heartstream listens on http://{} (songs in {})", server.address(), library.display());
    Ok(server.run(stopped()).await?)
}

/// Done when the process is asked to end.
async fn stopped() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        _ = interrupt => (),
        () = terminate => (),
    }
}
