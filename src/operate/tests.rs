use super::*;

#[test]
fn a_place_is_read_as_it_is_printed() {
    for text in [
        "docker.io/library/python:3.11",
        "oci:some/directory",
        "oci:some/directory:1.0",
        "oci-archive:image.tar:docker.io/a/b:1",
        "docker-archive:/tmp/image.tar",
    ] {
        assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
    }
    assert_eq!("docker://python".parse::<Place>().unwrap().to_string(), "docker.io/library/python:latest");
    for text in ["oci:", "oci-archive::name", "docker-archive:file:", "docker://", "Upper"] {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
}
