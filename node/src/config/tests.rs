//! Configurations that are refused, and why; and what the least one means.

use super::*;

fn load(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).map_err(|e| e.to_string())
}

const LEAST: &str = "trust_root = \"root.json\"\ndata_dir = \"data\"\n[install]\nroot = \"install\"\n";

#[test]
fn the_least_configuration_has_working_defaults_and_absolute_paths() {
    let config = load(LEAST).unwrap();
    assert!(config.data_dir.is_absolute() && config.mesh.mdns);
    assert_eq!((config.store.reserve_free, config.store.quota_bytes()), (Size(64 << 20), None));
    let limited = load(&format!("{LEAST}[store]\nquota = \"2GiB\"\n")).unwrap();
    assert_eq!(limited.store.quota_bytes(), Some(2 << 30));
}

#[test]
fn every_mistake_names_the_line_the_key_and_what_was_expected() {
    for (text, words) in [
        ("", vec!["trust_root"]),
        ("trust_root = 1", vec!["line 1", "string", "1"]),
        ("trust_root = \"root.json\"\ndata_dir = \"data\"\n", vec!["install"]),
        (&LEAST.replace("root = \"install\"", ""), vec!["line 3", "install", "root"]),
        (&LEAST.replace("\"install\"", "\"data/x\""), vec!["install.root", "data/x", "outside data_dir"]),
        (
            &LEAST.replace("\"data\"", "\"install/data\""),
            vec!["install.root", "install", "data_dir is not in"],
        ),
        (&LEAST.replace("\"install\"", "\"data\""), vec!["install.root", "data", "outside data_dir"]),
        (&LEAST.replace("\"install\"", "\"/\""), vec!["install.root = \"/\"", "data_dir is not in"]),
        (&LEAST.replace("\"data\"", "\"\""), vec!["data_dir = \"\"", "a path"]),
        (&LEAST.replace("\"install\"", "\"\""), vec!["install.root = \"\"", "a path"]),
        (&LEAST.replace("\"root.json\"", "\"\""), vec!["trust_root = \"\"", "a path"]),
        (&format!("{LEAST}[device]\nenrollment = \"\"\n"), vec!["device.enrollment = \"\"", "a path"]),
        (&format!("{LEAST}[device]\nhardware = \"\"\n"), vec!["device.hardware = \"\"", "generic"]),
        (&format!("{LEAST}[device]\narchitecture = \" \"\n"), vec!["device.architecture = \" \"", "a name"]),
        (
            &format!(
                "{LEAST}[mesh]\nlisten = [{0}, \"/ip4/0.0.0.0/tcp/7\", {0}]\n",
                "\"/ip4/127.0.0.1/tcp/7\""
            ),
            vec!["mesh.listen = \"/ip4/127.0.0.1/tcp/7\"", "each address once"],
        ),
        (&LEAST.replace("data_dir", "datadir"), vec!["line 2", "datadir", "data_dir"]),
        (&format!("{LEAST}mode = 7\n"), vec!["line 5", "mode", "root"]),
        (&format!("{LEAST}[instal]\n"), vec!["line 5", "instal", "install"]),
        (&format!("{LEAST}[install]\n"), vec!["line 5", "install", "duplicate"]),
        (&format!("{LEAST}[mesh]\nlisten = \"/ip4/0.0.0.0/tcp/1\"\n"), vec!["line 6", "listen", "sequence"]),
        (
            &format!("{LEAST}[mesh]\nlisten = [\"0.0.0.0:1\"]\n"),
            vec!["line 6", "listen", "0.0.0.0:1", "/ip4/0.0.0.0/tcp/4810"],
        ),
        (&format!("{LEAST}[mesh]\nconnections_max = -1\n"), vec!["line 6", "connections_max", "-1", "u32"]),
        (&format!("{LEAST}[mesh]\nconnections_max = 1025\n"), vec!["connections_max = 1025", "2 to 1024"]),
        (&format!("{LEAST}[device]\nhardware = 3\n"), vec!["line 6", "hardware", "3", "string"]),
        (&format!("{LEAST}[mesh]\nmdns = \"yes\"\n"), vec!["line 6", "mdns", "boolean"]),
        (&format!("{LEAST}[mesh]\nmnds = true\n"), vec!["line 6", "mnds", "mdns"]),
        (&format!("{LEAST}[mesh]\nuplink_limit = \"fast\"\n"), vec!["line 6", "fast", "20mbit"]),
        (
            &format!("{LEAST}[mesh]\npeers = [\"10.0.0.1\"]\n"),
            vec!["line 6", "peers", "10.0.0.1", "/ip4/10.0.0.7/tcp/4810"],
        ),
        (&format!("{LEAST}[mesh]\nconnections_max = 1\n"), vec!["mesh.connections_max", "2 to 1024"]),
        (&format!("{LEAST}[store]\nreserve_free = \"64\"\n"), vec!["line 6", "64MiB"]),
        (&format!("{LEAST}[store]\nquota = 64\n"), vec!["line 6", "quota", "string"]),
        (&format!("{LEAST}[log]\nformat = \"xml\"\n"), vec!["line 6", "xml", "json"]),
        (
            &format!("{LEAST}[mesh]\npeers = [\"/ip4/10.0.0.1\"]\n"),
            vec!["line 6", "peers", "/ip4/10.0.0.1", "no TCP port"],
        ),
        (&format!("{LEAST}[log]\nlevel = \"lo=ud=\"\n"), vec!["log.level", "lo=ud=", "info"]),
        (&format!("{LEAST}[log]\nlevel = \"debgu\"\n"), vec!["log.level", "debgu", "no level"]),
        (
            &LEAST.replace("\"data\"", &format!("\"{}\"", "d".repeat(120))),
            vec!["data_dir", "ddd/api.sock", "bytes", "107"],
        ),
    ] {
        let error = load(text).unwrap_err();
        words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in {error}"));
        assert!(error.contains("node.toml"), "{error}");
    }
}

#[test]
fn places_are_compared_as_the_system_resolves_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::create_dir_all(dir.path().join("srv/install")).unwrap();
    std::os::unix::fs::symlink("srv", dir.path().join("link")).unwrap();
    for (data, root, is_refused) in [
        ("srv/data", "link", true),
        ("srv/install/data", "srv/../link/install", true),
        ("link/data", "srv/data/x", true),
        ("srv/data", "link/install", false),
        ("srv/install2", "srv/install", false),
    ] {
        let text =
            LEAST.replace("\"data\"", &format!("{data:?}")).replace("\"install\"", &format!("{root:?}"));
        std::fs::write(&path, text).unwrap();
        assert_eq!(Config::load(&path).is_err(), is_refused, "{data} {root}");
    }
}

#[test]
fn any_free_port_may_be_asked_for_twice() {
    let twice = "[\"/ip4/127.0.0.1/tcp/0\", \"/ip4/127.0.0.1/tcp/0\"]";
    assert_eq!(load(&format!("{LEAST}[mesh]\nlisten = {twice}\n")).unwrap().mesh.listen.len(), 2);
}

#[test]
fn a_file_that_is_missing_or_no_text_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    let error = || Config::load(&path).unwrap_err().to_string();
    assert!(error().contains("cannot read") && error().contains("node.toml"), "{}", error());
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(error().contains("UTF-8") && error().contains("node.toml"), "{}", error());
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(error().contains("directory") && error().contains("node.toml"), "{}", error());
}

#[test]
fn relative_paths_start_at_the_file_not_at_the_working_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, format!("{LEAST}[device]\nenrollment = \"enrollment.json\"\n")).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.trust_root, dir.path().join("root.json"));
    assert_eq!(config.install.root, dir.path().join("install"));
    assert_eq!(config.device.enrollment, Some(dir.path().join("enrollment.json")));
}

#[test]
fn units_survive_text() {
    for text in ["20mbit", "1gbit", "1500kbit", "7bit"] {
        assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
    }
    for text in ["64MiB", "1GiB", "1000B"] {
        assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
    }
    assert!("99999999999TiB".parse::<Size>().is_err() && "0mbit".parse::<Rate>().is_err());
}
