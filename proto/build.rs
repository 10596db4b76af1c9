//! Generates the gRPC clients and servers from `proto/*.proto`.

fn main() {
    tonic_prost_build::configure()
        .compile_protos(
            &[
                "proto/gateway.proto",
                "proto/agent.proto",
                "proto/logger.proto",
                "proto/registry.proto",
            ],
            &["proto"],
        )
        .expect("protoc is installed (Debian: protobuf-compiler) and the files are valid");
}
