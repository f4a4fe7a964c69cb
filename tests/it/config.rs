//! The configuration as its users meet it: the example names every key, the page is made of it, a
//! bad file starts nothing.

mod environment;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn example() -> PathBuf {
    top().join("deploy/headframe.example.toml")
}

fn headframe(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headframe"));
    for (key, _) in
        std::env::vars().filter(|(key, _)| key.starts_with("HEADFRAME") || key.starts_with("AWS_"))
    {
        command.env_remove(key);
    }
    command
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn print(file: Option<&Path>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec!["config", "print"];
    arguments.extend(file.map(|file| file.to_str().unwrap()));
    let printed = headframe(&arguments, folder.path());
    assert!(
        printed.status.success(),
        "{}",
        String::from_utf8_lossy(&printed.stderr)
    );
    String::from_utf8(printed.stdout).unwrap()
}

/// A subaddress with the keys of the donation address of Monero's own project.
pub const SUBADDRESS: &str = "84zPbCjb38gBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGMwZRBo";

/// What a wrong file is answered with.
fn refusal(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), text).unwrap();
    let said = headframe(&["up", "--config", "bad.toml"], folder.path());
    assert!(!said.status.success(), "it started with {text}");
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        left,
        ["bad.toml"],
        "something was made although the configuration is bad"
    );
    let checked = headframe(&["config", "check", "bad.toml"], folder.path());
    assert_eq!(
        (checked.status.success(), &checked.stderr),
        (false, &said.stderr),
        "check and up must agree"
    );
    String::from_utf8(said.stderr).unwrap()
}

/// Every key of a section, as the program itself lists them when it is given one that does not
/// exist.
fn known(section: &str) -> BTreeSet<String> {
    let header = if section.is_empty() {
        String::new()
    } else {
        format!("[{section}]\n")
    };
    let said = refusal(&format!("{header}no_such_key = 1\n"));
    let (_, list) = said
        .split_once("expected")
        .unwrap_or_else(|| panic!("no list of keys in {said}"));
    list.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .filter(|key| key != section.trim_matches(['[', ']']))
        .collect()
}

struct Entry {
    key: String,
    default: Option<String>,
    meaning: String,
}

struct Section {
    name: String,
    meaning: String,
    entries: Vec<Entry>,
}

/// The example read as a document: comments before a key are its meaning; a key behind a `#` has no
/// default.
fn sections(text: &str) -> Vec<Section> {
    let key_value = |line: &str| {
        let (key, value) = line.split_once(" = ")?;
        let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        plain.then(|| (key.to_owned(), value.to_owned()))
    };
    let mut sections = vec![Section {
        name: String::new(),
        meaning: String::new(),
        entries: Vec::new(),
    }];
    let mut said: Vec<&str> = Vec::new();
    for line in text.lines() {
        let comment = line.strip_prefix("# ");
        let list = comment.and_then(|comment| comment.strip_prefix("[[")?.strip_suffix("]]"));
        if let Some(name) = list {
            // Of these there are as many as one wants, and none by default.
            sections.push(Section {
                name: format!("[{name}]"),
                meaning: said.join(" "),
                entries: Vec::new(),
            });
            said.clear();
        } else if let Some((key, value)) = key_value(comment.unwrap_or(line)) {
            let default = comment.is_none().then_some(value);
            sections.last_mut().unwrap().entries.push(Entry {
                key,
                default,
                meaning: said.join(" "),
            });
            said.clear();
        } else if let Some(comment) = comment {
            said.push(comment);
        } else if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            sections.push(Section {
                name: name.to_owned(),
                meaning: said.join(" "),
                entries: Vec::new(),
            });
            said.clear();
        } else {
            assert_eq!(line, "", "a line that is neither comment, key nor section");
            if sections.len() == 1 && sections[0].meaning.is_empty() {
                sections[0].meaning = said.join(" ");
            }
            said.clear();
        }
    }
    sections
}

#[test]
fn the_example_is_the_defaults_and_names_every_key() {
    assert_eq!(
        print(Some(&example())),
        print(None),
        "the example differs from the defaults"
    );
    let text = std::fs::read_to_string(example()).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for section in sections(&text) {
        for entry in &section.entries {
            assert!(
                !entry.meaning.is_empty(),
                "{} in [{}] is not explained",
                entry.key,
                section.name
            );
        }
        let keys = section.entries.into_iter().map(|entry| entry.key).collect();
        found.insert(section.name, keys);
    }
    let subsections = |name: &str| -> BTreeSet<String> {
        let inside = |other: &&String| {
            !other.is_empty() && other.rsplit_once('.').map_or("", |(parent, _)| parent) == name
        };
        found
            .keys()
            .filter(inside)
            .map(|other| other.rsplit('.').next().unwrap())
            .map(|other| other.trim_matches(['[', ']']).to_owned())
            .collect()
    };
    for (name, keys) in found
        .iter()
        .filter(|(name, _)| *name != "maintenance.retention_days")
    {
        assert_eq!(keys | &subsections(name), known(name), "keys of [{name}]");
    }
    let tables: BTreeSet<String> = headframe_schemas::table::all()
        .into_iter()
        .filter(|table| table.retention_days.is_some())
        .map(|table| table.config_name)
        .collect();
    assert_eq!(found["maintenance.retention_days"], tables);
}

#[test]
fn the_page_about_the_configuration_is_made_of_the_example() {
    let text = std::fs::read_to_string(example()).unwrap();
    let mut page = String::from("# Configuration\n\n");
    page.push_str(
        "*Made of [deploy/headframe.example.toml](../deploy/headframe.example.toml) by a \
                   test, which fails when they differ;\n",
    );
    page.push_str("`HEADFRAME_BLESS=1 cargo test --test it config` writes this page anew.*\n\n");
    for section in sections(&text) {
        if !section.name.is_empty() {
            page.push_str(&format!("\n## `[{}]`\n\n", section.name));
        }
        page.push_str(&format!("{}\n\n", section.meaning));
        if !section.entries.is_empty() {
            page.push_str("| key | default | meaning |\n|---|---|---|\n");
        }
        for Entry {
            key,
            default,
            meaning,
        } in section.entries
        {
            let default =
                default.map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
            page.push_str(&format!("| `{key}` | {default} | {meaning} |\n"));
        }
    }
    let path = top().join("docs/configuration.md");
    if std::env::var_os("HEADFRAME_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/configuration.md is not what the example says; write it with HEADFRAME_BLESS=1"
    );
}

#[test]
fn what_is_printed_loads_back_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let text = "data_dir = \"d\"\nroles = [\"query\"]\nmanaged_nats = false\n[nats]\nurl = \
                \"nats://a:1,nats://b:2\"\n[streams]\nmax_bytes = 7\n\
                [lake]\nurl = \"s3://bucket/path\"\noptions = { aws_region = \"x\", aws_endpoint = \
                \"http://127.0.0.1:1\" }\n\
                [maintenance.retention_days]\nshares = 30\n[stratum.vardiff]\ntarget_s = 5\n\
                [stratum]\ndaemon_url = \"http://me:secret@127.0.0.1:1\"\n";
    std::fs::write(&file, text).unwrap();
    let printed = print(Some(&file));
    for part in [
        "shares = 30",
        "sensors = 730",
        "max_bytes = 7",
        "roles = [\"query\"]",
        "aws_region = \"x\"",
        "target_s = 5.0",
    ] {
        assert!(
            printed.contains(part)
                || printed
                    .replace("\n    ", "")
                    .replace(",\n", "")
                    .contains(part),
            "no {part} in {printed}"
        );
    }
    assert!(
        !printed.contains("secret") && printed.contains("http://me:***@127.0.0.1:1"),
        "{printed}"
    );
    std::fs::write(&file, &printed).unwrap();
    assert_eq!(print(Some(&file)), printed);
}

#[test]
fn thresholds_that_nobody_names_are_those_of_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    for (text, thresholds) in [
        ("", ["100000000000", "10000000000", "100000000000000"]),
        (
            "[stratum]\nchain = \"opensy\"\n[payments.wallet]\ndecimals = 6\n",
            ["1000000000", "100000000", "1000000000000"],
        ),
        (
            "[payments]\nthreshold_atomic = 77\n[payments.wallet]\nkind = \"bitcoin\"\n\
             decimals = 2\n",
            ["77", "10000", "100000000"],
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let printed = print(Some(&file));
        let keys = ["", "least_", "most_"].map(|which| format!("{which}threshold_atomic"));
        for (key, threshold) in keys.iter().zip(thresholds) {
            assert!(
                printed.contains(&format!("\n{key} = {threshold}\n")),
                "no {key} = {threshold} with {text}: {printed}"
            );
        }
        std::fs::write(&file, &printed).unwrap();
        assert_eq!(print(Some(&file)), printed, "what is printed names them");
    }
}

/// A pool that could start, but for what is added.
fn pool(more: &str) -> String {
    format!(
        "roles = [\"stratum\"]\n[stratum]\nwallet = \"{}\"\n{more}",
        crate::monerod::WALLET
    )
}

#[test]
fn a_bad_file_starts_nothing_and_the_key_is_named() {
    for (text, says) in [
        ("roles = []", "roles is empty"),
        ("roles = [\"miner\"]", "unknown variant `miner`"),
        ("data_dir = \"bad.toml\"", "data_dir is \"bad.toml\""),
        ("nats_port = 4222\nmanaged_nats = false", "nats_port is set"),
        (
            "[nats]\nurl = \"nats://elsewhere:4222\"",
            "managed_nats = false",
        ),
        (
            "managed_nats = false\n[nats]\nurl = \"nats://me:secret@elsewhere:4222\"",
            "nats.url carries a password",
        ),
        (
            "managed_nats = false\n[nats]\nurl = \"http://[\"",
            "nats.url",
        ),
        (
            "managed_nats = false\n[nats]\nuser = \"me\"",
            "HEADFRAME_NATS_PASSWORD",
        ),
        (
            "managed_nats = false\n[nats]\ntls_ca = \"gone.pem\"",
            "nats.tls_ca is gone.pem",
        ),
        (
            "managed_nats = false\n[nats]\ntls_key = \"bad.toml\"",
            "nats.tls_cert and nats.tls_key",
        ),
        ("[lake]\nurl = \"hdfs://a/b\"", "lake.url"),
        ("[lake]\nurl = \"s3:///b\"", "names no bucket"),
        (
            "[lake]\nurl = \"s3://b\"\noptions = { colour = \"red\" }",
            "option colour",
        ),
        (
            "[lake]\nurl = \"s3://b\"\noptions = { aws_secret_access_key = \"x\" }",
            "AWS_SECRET_ACCESS_KEY",
        ),
        (
            "[lake]\nurl = \"s3://b\"\noptions = { aws_conditional_put = \"disabled\" }",
            "put-if-absent",
        ),
        ("[streams]\nreplicas = 2", "streams.replicas is 2"),
        (
            "[streams]\nduplicate_window_s = 5",
            "streams.duplicate_window_s is 5",
        ),
        ("[streams]\nmax_age_s = 60", "streams.max_age_s is 60"),
        (
            "[publisher]\ndeadline_s = 120",
            "publisher.deadline_s is 120",
        ),
        ("[publisher]\nin_flight = 0", "publisher.in_flight is 0"),
        ("[publisher]\nqueue_bytes = 5", "publisher.queue_bytes is 5"),
        ("[pipelines]\ncommit_ms = 0", "pipelines.commit_ms"),
        (
            "[[pipeline]]\nname = \"a\"\ninput = \"sensors\"\nsql = \"SELECT count(*) AS n FROM \
             input\"",
            "pipeline \"a\": sql: an aggregate or GROUP BY needs more than one row of input; name \
             a window",
        ),
        (
            "[[pipeline]]\nname = \"hashrate_1m\"\ninput = \"sensors\"\nsql = \"SELECT site FROM \
             input\"",
            "called hashrate_1m, which is a name of Headframe's own",
        ),
        (
            "[[pipeline]]\nname = \"a\"\ninput = \"sensors\"\nsql = \"\"\nkind = 1",
            "unknown field `kind`",
        ),
        ("[maintenance]\nevery_s = 0", "maintenance.every_s is 0"),
        (
            "[maintenance]\nfiles_kept_days = 0",
            "maintenance.files_kept_days is 0",
        ),
        (
            "[maintenance.retention_days]\nshares = 1",
            "maintenance.retention_days.shares is 1",
        ),
        (
            "[maintenance.retention_days]\nstocks = 10",
            "maintenance.retention_days.stocks: there is no such table",
        ),
        ("[query]\nlisten = \"0.0.0.0:8080\"", "token_file"),
        ("[query]\ntoken_file = \"gone\"", "query.token_file"),
        (
            "[query]\noperator_token_file = \"gone\"",
            "query.operator_token_file",
        ),
        ("[query]\nmax_concurrent = 0", "query.max_concurrent"),
        ("[ingest]\nmax_bytes = 1", "ingest.max_bytes is 1"),
        ("roles = [\"stratum\"]", "stratum.wallet"),
        (
            &format!("roles = [\"stratum\"]\n[stratum]\nwallet = \"{SUBADDRESS}\""),
            "use the primary address of the wallet",
        ),
        ("roles = [\"payments\"]", "payments.wallet.kind is none"),
        (
            &pool("chain = \"monero\"\n[payments.wallet]\nkind = \"bitcoin\"")
                .replace("[\"stratum\"]", "[\"stratum\", \"payments\"]"),
            "payments.wallet.kind is bitcoin but stratum.chain is monero",
        ),
        (
            "[payments]\nleast_threshold_atomic = 200000000000000",
            "payments.least_threshold_atomic must not be more than",
        ),
        (
            "[payments.wallet]\nkind = \"bitcoin\"\ndecimals = 18",
            "payments.threshold_atomic is left out",
        ),
        ("[payments]\ninterval_s = 0", "payments.interval_s is 0"),
        (
            "[payments]\nfee_policy = \"nobody\"",
            "unknown variant `nobody`",
        ),
        (
            "[payments]\nbatch_size = 16\n[payments.wallet]\nkind = \"monero\"",
            "payments.batch_size is 16",
        ),
        (
            "[payments.wallet]\nkind = \"monero\"\nurl = \"http://me:secret@127.0.0.1:1\"",
            "payments.wallet.url holds a login",
        ),
        (
            "[payments.wallet]\nkind = \"monero\"\nlogin_file = \"gone\"",
            "payments.wallet.login_file gone cannot be read",
        ),
        ("no toml", "is not TOML"),
        (
            &pool("[stratum.tls]\ncert_file = \"gone.pem\"\nkey_file = \"bad.toml\""),
            "stratum.tls.cert_file is gone.pem",
        ),
        (
            &pool("[stratum.tls]\ncert_file = \"bad.toml\"\nkey_file = \"gone.pem\""),
            "stratum.tls.key_file is gone.pem",
        ),
        (
            &pool("[stratum.tls]\ncert_file = \"bad.toml\"\nkey_file = \"bad.toml\""),
            "bad.toml holds no usable certificate",
        ),
        (
            &pool("[stratum.defence]\naddresses_in_rows = \"hashed\"\naddress_key_file = \"gone\""),
            "stratum.defence.address_key_file is gone",
        ),
    ] {
        let said = refusal(text);
        assert!(
            said.contains(says) && said.contains("bad.toml"),
            "{text}: {said}"
        );
        assert!(!said.contains("secret@"), "a secret is shown: {said}");
    }
    let both = refusal("[streams]\nreplicas = 2\n[ingest]\nmax_bytes = 1");
    assert!(
        both.contains("streams.replicas") && both.contains("ingest.max_bytes"),
        "all that is wrong at once: {both}"
    );
}
