//! Generates the gRPC clients and servers from `proto/*.proto`.

fn main() {
    tonic_prost_build::configure()
        // A server without a new call still compiles, and answers it with UNIMPLEMENTED.
        .generate_default_stubs(true)
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
