//! What crosses the network: gRPC between the parts, JSON between people and the controller.
//!
//! `gateway`, `agent`, `logger` and `registry` are generated from `proto/*.proto`. `api` holds the
//! public JSON types under `/v1`, `dump` the whole memory as lines, `problem` the one error shape with its codes. Additive changes
//! only: fields are added, never renamed; a golden file shows every change in review.

pub mod api;
pub mod dump;
pub mod problem;

/// Controller to all other parts.
#[expect(missing_docs, reason = "generated; the .proto file documents it")]
pub mod gateway {
    tonic::include_proto!("trireme.gateway");
}

/// One-off commands on a node.
#[expect(missing_docs, reason = "generated; the .proto file documents it")]
pub mod agent {
    tonic::include_proto!("trireme.agent");
}

/// Lines in, lines out.
#[expect(missing_docs, reason = "generated; the .proto file documents it")]
pub mod logger {
    tonic::include_proto!("trireme.logger");
}

/// What a registry keeps.
#[expect(missing_docs, reason = "generated; the .proto file documents it")]
pub mod registry {
    tonic::include_proto!("trireme.registry");
}
