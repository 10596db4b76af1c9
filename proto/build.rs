//! Generates the gRPC clients and servers from `proto/*.proto`.

fn main() {
    let compile = |stubs: bool, files: &[&str]| {
        tonic_prost_build::configure()
            .generate_default_stubs(stubs)
            .compile_protos(files, &["proto"])
            .expect("protoc is installed (Debian: protobuf-compiler) and the files are valid");
    };
    // A stand-in in a test serves the calls of one role; the others answer UNIMPLEMENTED.
    compile(true, &["proto/gateway.proto", "proto/registry.proto"]);
    compile(false, &["proto/agent.proto", "proto/logger.proto"]);
}
