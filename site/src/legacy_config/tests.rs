//! The old file, whole and broken.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

/// As the predecessor's documentation shows it.
const FILE: &str = "\
# Bitcoin mine
[GENERAL]
loop_interval_minutes = 2
max_temp_celsius = 35
min_temp_celsius = 10
max_humidity = 80

[APIS]
cornbelt_url = https://cbpower.coop/power-signal
roomalert_ip = 192.168.1.100
iotawatt_ip = 192.168.1.101
foreman_api = http://foreman.mn/api
pdu_ip = 192.168.1.102
fan_relay_ip = 192.168.1.103

[NOTIFICATIONS]
; by BotFather
telegram_token = 123456:ABC-def
telegram_chat_id = -100123
email_smtp_server = smtp.gmail.com
email_smtp_port = 587
email_username = mine@example.org
email_password = se%cret#1
email_recipients = ann@example.org, bob@example.org
sms_api_key = k
sms_phone = +1234567890
";

fn settings(text: &str) -> Result<LegacySettings, Vec<LegacyError>> {
    let folder = tempfile::tempdir().unwrap();
    LegacyConfig::parse(text.as_bytes())?.settings("north", &folder.path().join("secrets"))
}

#[test]
fn the_documented_file_is_read_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = LegacyConfig::parse(FILE.as_bytes()).unwrap();
    let settings = config.settings("north", folder.path()).unwrap();
    assert_eq!(settings.loop_interval_minutes, 2.0);
    assert_eq!(
        (settings.max_temp_celsius, settings.min_temp_celsius),
        (35.0, 10.0)
    );
    assert_eq!(settings.max_humidity, 80.0);
    assert_eq!(
        settings.signal_url.as_deref(),
        Some("https://cbpower.coop/power-signal")
    );
    assert_eq!(
        settings.foreman_address.as_deref(),
        Some("https://foreman.mn")
    );
    let addresses: Vec<&str> = settings
        .sources
        .iter()
        .map(|one| one.address.as_str())
        .collect();
    assert_eq!(addresses, ["http://192.168.1.100", "http://192.168.1.101"]);
    assert_eq!(settings.actuators[0].controls.len(), 9);
    let kinds: Vec<&str> = settings
        .channels
        .iter()
        .map(|one| one.kind.as_str())
        .collect();
    assert_eq!(kinds, ["telegram", "email"]);
    let file = settings.channels[1].secret_file.as_ref().unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "se%cret#1");
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let plain = settings
        .warnings
        .iter()
        .find(|one| one.contains("plain HTTP"));
    assert!(plain.is_some(), "{:?}", settings.warnings);
    assert_eq!(settings.warnings.len(), 7, "{:?}", settings.warnings);
    assert!(!format!("{config:?}").contains("se%cret"));
}

#[test]
fn what_the_file_never_had_is_named() {
    for (old, new, named) in [
        ("max_humidity = 80", "max_humidty = 80", "max_humidty"),
        ("[APIS]", "[API]", "API"),
        ("max_humidity = 80", "max_humidity = wet", "wet"),
        ("max_humidity = 80", "max_humidity = NaN", "NaN"),
        ("max_humidity = 80", "max_humidity 80", "neither"),
        (
            "max_humidity = 80",
            "max_humidity = 80\nmax_humidity = 70",
            "twice",
        ),
        (
            "min_temp_celsius = 10",
            "min_temp_celsius = 36",
            "min_temp_celsius",
        ),
        ("telegram_chat_id = -100123", "", "telegram_chat_id"),
        ("123456:ABC-def", "nonsense", "telegram_token"),
        (
            "email_smtp_port = 587",
            "email_smtp_port = 99999",
            "email_smtp_port",
        ),
        ("192.168.1.103", "http://192.168.1.103", "fan_relay_ip"),
        ("mine@example.org", "mine", "email_smtp_server"),
        ("foreman_api = http:", "foreman_api = ftp:", "foreman_api"),
    ] {
        let text = FILE.replace(old, new);
        let errors = settings(&text).unwrap_err();
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(
            shown.iter().any(|one| one.contains(named)),
            "{new}: {shown:?}"
        );
    }
}

#[test]
fn an_empty_file_has_the_documented_defaults() {
    let settings = settings("").unwrap();
    assert_eq!(
        (settings.max_temp_celsius, settings.max_humidity),
        (35.0, 80.0)
    );
    assert_eq!(settings.channels, []);
    assert!(settings.warnings[0].contains("nobody"));
}

#[test]
fn an_old_file_is_told_from_a_configuration() {
    assert!(is_legacy(FILE));
    assert!(is_legacy("; mine\n\n [APIS]\n"));
    for other in [
        "",
        "[plan]\n",
        "data_dir = \"x\"\n[GENERAL]\n",
        "[[source]]\n",
        "[GENERALS]",
    ] {
        assert!(!is_legacy(other), "{other}");
    }
}

#[test]
fn what_another_file_says_counts_first_and_is_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (old, more) = (
        folder.path().join("config.txt"),
        folder.path().join("more.toml"),
    );
    std::fs::write(&old, FILE).unwrap();
    let data = folder.path().join("data");
    let text = format!(
        "data_dir = {data:?}\nstep_s = 2.0\n[plan]\nname = \"north\"\ndesign_kw = 900.0\n\
         [[plan.machines]]\nname = \"m-1\"\nhashrate_ths = 100.0\npower_w = 3000.0\n\
         [readings]\nsite_meter = \"iotawatt/input-1\"\n[policy.thermal]\nhot_c = 33.0\n\
         [[signal]]\nkind = \"push\"\nname = \"utility\"\nclass = \"mandatory\"\n"
    );
    std::fs::write(&more, text).unwrap();
    let (config, warnings) = load(&old, Some(more.as_path())).unwrap();
    assert_eq!((config.step_s, config.plan.design_kw), (2.0, 900.0));
    let thermal = &config.policy.thermal;
    assert_eq!((thermal.hot_c, thermal.cold_c), (33.0, 10.0));
    assert_eq!(config.policy.health.loop_s, 120);
    assert_eq!(
        (
            config.source.len(),
            config.signal.len(),
            config.plan.fans.len()
        ),
        (2, 1, 9)
    );
    assert!(config.source.iter().all(|source| source.site == "north"));
    assert!(data.join("secrets/email_password").is_file());
    let asks_for = |what: &str| warnings.iter().any(|one| one.contains(what));
    for (what, is_missing) in [
        ("cornbelt_url", false),
        ("iotawatt_ip", false),
        ("no machines", false),
        ("pdu_ip", true),
        ("sms_api_key", true),
    ] {
        assert_eq!(asks_for(what), is_missing, "{what}: {warnings:?}");
    }
    let text = format!("data_dir = {data:?}\n[plan]\ndesing_kw = 900.0\n");
    std::fs::write(&more, text).unwrap();
    let error = load(&old, Some(more.as_path())).unwrap_err().to_string();
    assert!(error.contains("desing_kw"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_settings_or_errors(
        content in proptest::collection::vec(any::<u8>(), 0..300),
        lines in "(\\[(GENERAL|APIS|X)\\]\n|max_humidity ?[=:]? ?[0-9a-z.]{0,6}\n|\\PC{0,20}\n)\
                  {0,12}",
    ) {
        for content in [content.as_slice(), lines.as_bytes()] {
            if let Ok(config) = LegacyConfig::parse(content) {
                config.settings("north", Path::new("/nonexistent/secrets")).ok();
            }
        }
    }
}
