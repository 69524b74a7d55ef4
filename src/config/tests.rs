//! The whole way from inputs to a [`Config`], without touching this process's environment.

use std::path::Path;

use super::*;

fn inputs(args: &[&str], variables: &[(&str, &str)]) -> Inputs {
    Inputs {
        args: args.iter().map(OsString::from).collect(),
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Inputs::default()
    }
}

fn check(args: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    match command(&inputs(args, variables))? {
        Command::Serve(config) => Ok(*config),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_anything_the_built_in_files_count() {
    let config = Config::embedded();
    assert_eq!(config.listen, [SocketAddr::from(([127, 0, 0, 1], 8000))]);
    assert_eq!((config.data, config.metadata), (Backend::File, Backend::File));
    assert_eq!(config.data_path, Path::new("localData"));
    assert_eq!(config.sync, SyncMode::Strict);
    assert_eq!(config.accounts.key("accessKey1").unwrap().secret, "verySecretKey1");
    let bart = config.accounts.key("accessKey1").unwrap().account.canonical_id.as_str();
    assert_eq!(bart, "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be");
    for key in ["accessKey2", "accessKeyDocker", "USERBARTFUNACCESSKEY", "accessKeyBackbeat"] {
        assert!(config.accounts.key(key).is_some(), "{key}");
    }
    assert_eq!(config.rest_endpoints["localhost"], "us-east-1");
    assert_eq!(config.website_endpoints.len(), 14);
    assert!(config.locations["us-east-1"].legacy_aws_behavior);
    assert!(!config.locations["eu-west-1"].legacy_aws_behavior);
    assert_eq!(config.part_bytes_min, PART_BYTES_MIN);
    assert!(config.published_keys && !config.is_exposed_with_published_keys());
    assert_eq!(config.notes, []);
}

#[test]
fn a_specific_variable_beats_the_general_one_and_a_flag_beats_both() {
    let backends = |args: &[&str], variables: &[(&str, &str)]| {
        let config = check(args, variables).unwrap();
        (config.data, config.metadata)
    };
    let env = [("S3BACKEND", "mem"), ("S3METADATA", "file")];
    assert_eq!(backends(&[], &env), (Backend::Memory, Backend::File));
    assert_eq!(backends(&["--backend", "file"], &[("S3DATA", "mem")]), (Backend::File, Backend::File));
    assert_eq!(backends(&["--data=multiple"], &env), (Backend::Multiple, Backend::File));
    assert_eq!(backends(&["--data=scality"], &[]), (Backend::Multiple, Backend::File));
    assert!(check(&["--backend=mem", "--data=mem"], &[("S3METADATA", "mme")]).is_err());
}

#[test]
fn sync_modes_come_from_their_own_setting_or_the_older_variable() {
    for (args, variables, expected) in [
        (&["--sync=relaxed"][..], &[][..], SyncMode::Relaxed),
        (&["--sync=strict"], &[("S3DATA_NOSYNC", "true")], SyncMode::Strict),
        (&[], &[("S3DATA_NOSYNC", "true")], SyncMode::None),
        (&[], &[("S3DATA_NOSYNC", "false")], SyncMode::Strict),
        (&[], &[("S3DATA_NOSYNC", "true"), ("S3PAIL_SYNC", "relaxed")], SyncMode::Relaxed),
    ] {
        assert_eq!(check(args, variables).unwrap().sync, expected, "{args:?} {variables:?}");
    }
}

#[test]
fn variables_of_the_container_image_are_honoured() {
    let config = check(
        &[],
        &[
            ("ENDPOINT", "s3.example.com, minio"),
            ("LISTEN_ADDR", "0.0.0.0"),
            ("LOG_LEVEL", "trace"),
            ("MPU_TESTING", "yes"),
            ("DATA_HOST", "data"),
            ("REDIS_HOST", "redis"),
            ("REDIS_PORT", "6380"),
            ("HEALTHCHECKS_ALLOWFROM", "10.0.0.0/8"),
            ("SCALITY_ACCESS_KEY_ID", "AK"),
            ("SCALITY_SECRET_ACCESS_KEY", "SK"),
            ("S3KMS", "file"),
        ],
    )
    .unwrap();
    assert_eq!(config.rest_endpoints["minio"], "us-east-1");
    assert_eq!(config.rest_endpoints["localhost"], "us-east-1");
    assert_eq!(config.listen, [SocketAddr::from(([0, 0, 0, 0], 8000))]);
    assert_eq!(config.log_level, Level::Trace);
    assert_eq!(config.part_bytes_min, 0);
    assert_eq!(config.data_client, Some(Remote { host: "data".to_owned(), port: 9991 }));
    let remote = Remote { host: "redis".to_owned(), port: 6380 };
    assert_eq!(config.local_cache, Some(LocalCache { remote, password: None }));
    assert_eq!(config.health_allow_from.len(), 3);
    assert_eq!(config.accounts.access_keys().collect::<Vec<_>>(), ["AK"]);
    assert!(!config.published_keys);
    assert!(config.notes.iter().any(|note| note.text.contains("S3KMS")));
}

#[test]
fn every_bad_flag_or_variable_stops_with_a_sentence_that_names_it() {
    for (args, variables, part) in [
        (&["--backend", "s3"][..], &[][..], "--backend: \"s3\" is not allowed; allowed: mem, file"),
        (&["--listen=here"], &[], "--listen: \"here\""),
        (&["--workers=0"], &[], "--workers: \"0\" is not allowed; allowed: a whole number from 1 to 256"),
        (&["--workers=many"], &[], "--workers: \"many\""),
        (&["--strict-hosts=1"], &[], "--strict-hosts: \"1\" is not allowed; allowed: yes, no"),
        (&["--config=/nowhere"], &[], "--config: \"/nowhere\""),
        (&["--data-path="], &[], "--data-path: \"\""),
        (&[], &[("S3DATA", "azure")], "environment variable S3DATA: \"azure\""),
        (&[], &[("S3BACKEND", "scality")], "environment variable S3BACKEND: \"scality\""),
        (&[], &[("S3VAULT", "scality")], "environment variable S3VAULT: \"scality\""),
        (&[], &[("MPU_TESTING", "1")], "environment variable MPU_TESTING: \"1\""),
        (&[], &[("LOG_LEVEL", "INFO")], "environment variable LOG_LEVEL: \"INFO\""),
        (&[], &[("ENDPOINT", "http://host")], "environment variable ENDPOINT: \"http://host\""),
        (&[], &[("ENDPOINT", "host:8000")], "environment variable ENDPOINT: \"host:8000\""),
        (&[], &[("HEALTHCHECKS_ALLOWFROM", "all")], "environment variable HEALTHCHECKS_ALLOWFROM: \"all\""),
        (&[], &[("SCALITY_ACCESS_KEY_ID", "A")], "environment variable SCALITY_ACCESS_KEY_ID"),
        (&[], &[("S3AUTH_CONFIG", "/nowhere")], "environment variable S3AUTH_CONFIG: \"/nowhere\""),
        (&["--tls-self-signed="], &[], "--tls-self-signed: \"\""),
        (&["--tls-self-signed=t", "--tls-names=a,b:1"], &[], "--tls-names: \"b:1\""),
    ] {
        let error = check(args, variables).unwrap_err();
        assert!(error.0.starts_with(part), "{error}");
        assert!(error.0.contains("; allowed: ") && !error.0.contains('\n'), "{error}");
    }
}

#[test]
fn the_start_line_names_address_backend_and_durability_and_warns_of_published_keys() {
    let config = check(&["--workers=16"], &[]).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        config.start_line(&config.listen),
        format!(
            "s3pail {version} listening on http://127.0.0.1:8000 (file backend, sync strict, 16 workers)"
        )
    );
    let config = check(&["--backend=mem", "--listen=0.0.0.0:80", "--listen=[::1]:80"], &[]).unwrap();
    let line = config.start_line(&config.listen);
    assert!(line.contains("http://0.0.0.0:80, http://[::1]:80 (memory backend, lost at exit, "), "{line}");
    assert_eq!(config.sync_text(), "lost at exit", "for the health answer");
    assert!(line.contains("WARNING: built-in keys on a non-loopback address"), "{line}");
    assert!(!line.contains('\n'));
    let keys = [("SCALITY_ACCESS_KEY_ID", "a"), ("SCALITY_SECRET_ACCESS_KEY", "b")];
    let config = check(&["--listen=0.0.0.0:80"], &keys).unwrap();
    assert!(!config.start_line(&config.listen).contains("WARNING"));
}

#[test]
fn a_config_never_shows_a_secret() {
    assert!(!format!("{:?}", Config::embedded()).contains("verySecretKey1"));
}

#[test]
fn the_redis_for_statistics_is_named_by_file_and_variables() {
    let folder = std::env::temp_dir().join(format!("s3pail-local-cache-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("config.json");
    let check = |section: &str, variables: &[(&str, &str)]| {
        std::fs::write(&file, format!("{{\"localCache\": {section}}}")).unwrap();
        check(&[&format!("--config={}", file.display())], variables)
    };
    let with_password = r#"{"host": "r", "port": 1, "password": "hunter2"}"#;
    for (section, variables, expected) in [
        (r#"{"host": "r", "port": 1}"#, &[][..], Some(("r", 1, None))),
        (r#"{"host": "r", "port": 1}"#, &[("ENABLE_LOCAL_CACHE", "1")], Some(("r", 1, None))),
        (r#"{"host": "r", "port": 1, "password": ""}"#, &[("REDIS_PORT", "7")], Some(("r", 7, None))),
        (with_password, &[("REDIS_HOST", "h")], Some(("h", 6379, Some("hunter2")))),
        (r#"{"name": "n", "sentinels": "s:1"}"#, &[("ENABLE_LOCAL_CACHE", "1")], None),
        (r#"{"name": "n", "sentinels": "s:1"}"#, &[("REDIS_HOST", "h")], Some(("h", 6379, None))),
    ] {
        let config = check(section, variables).unwrap();
        let remote = |(host, port): (&str, u16)| Remote { host: host.to_owned(), port };
        let expected = expected.map(|(host, port, password): (_, _, Option<&str>)| LocalCache {
            remote: remote((host, port)),
            password: password.map(str::to_owned),
        });
        assert_eq!(config.local_cache, expected, "{section} {variables:?}");
        assert!(!format!("{:?}", config.local_cache).contains("hunter2"));
        let remark = "localCache.sentinels: Redis Sentinel is not asked";
        let noted = config.notes.iter().any(|note| note.level == Level::Warn && note.text.contains(remark));
        assert_eq!(noted, section.contains("sentinels"));
    }
    for (section, part) in [
        ("7", "localCache: 7 is not allowed"),
        (r#"{"port": 1}"#, "localCache.host: the key is missing"),
        (r#"{"host": "r"}"#, "localCache.port: the key is missing"),
        (r#"{"host": 5, "port": 1}"#, "localCache.host: 5 is not allowed"),
        (r#"{"host": "r", "port": "6379"}"#, "localCache.port: \"6379\" is not allowed"),
        (r#"{"host": "r", "port": 0}"#, "localCache.port: 0 is not allowed"),
        (r#"{"host": "r", "port": 1, "password": 12345}"#, "localCache.password: this value (not shown)"),
    ] {
        let error = check(section, &[]).unwrap_err();
        assert!(error.0.contains("config.json: ") && error.0.contains(part), "{section}: {error}");
        assert!(error.0.contains("; allowed: ") && !error.0.contains("12345"), "{section}: {error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let enabled = super::command(&inputs(&[], &[("ENABLE_LOCAL_CACHE", "yes")])).unwrap();
    let Command::Serve(config) = enabled else { panic!("{enabled:?}") };
    let remote = Remote { host: "127.0.0.1".to_owned(), port: 6379 };
    assert_eq!(config.local_cache, Some(LocalCache { remote, password: None }));
}
