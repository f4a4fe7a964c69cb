//! `headframe registry`: resources of the registry from a file and into one.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use headframe_schemas::Resource;
use headframe_schemas::resource::file::{FileFormat, FileRow};
use headframe_schemas::resource::{self, ResourceVersion, Values};
use reqwest::{Method, StatusCode, header};
use serde_json::{Map, Value};

use super::Command;
use super::api_client::ApiClient;

/// Resources of one request.
const PAGE: usize = 1_000;

/// Import resources of the registry from a file, or export them into one.
#[derive(Debug, clap::Parser)]
#[command(name = "registry")]
pub struct Registry {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ApiClient,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Register every row of a file; rows that cannot be taken are named, the others are taken.
    Import {
        /// The file, CSV or NDJSON by its ending; - reads from the standard input.
        file: PathBuf,
        #[command(flatten)]
        rows: RowArguments,
        /// Change what is registered already to what the file says.
        #[arg(long)]
        update: bool,
        /// Check the file, and register nothing.
        #[arg(long)]
        check: bool,
    },
    /// Write what is registered, by id.
    Export {
        /// The file to write, CSV or NDJSON by its ending; the standard output without one.
        file: Option<PathBuf>,
        #[command(flatten)]
        rows: RowArguments,
        /// What was registered at this time, such as 2026-01-31T12:00:00Z.
        #[arg(long)]
        as_of: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct RowArguments {
    /// The kind, such as machines.
    #[arg(long, value_parser = kind)]
    kind: &'static Resource,
    /// csv or ndjson, where the name of the file does not say.
    #[arg(long, value_parser = format)]
    format: Option<FileFormat>,
}

fn kind(name: &str) -> Result<&'static Resource, String> {
    let names: Vec<&str> = resource::ALL.iter().map(|kind| kind.name).collect();
    let found = resource::find(name);
    found.ok_or_else(|| format!("there is no such kind; there are {}", names.join(", ")))
}

fn format(name: &str) -> Result<FileFormat, String> {
    match name {
        "csv" => Ok(FileFormat::Csv),
        "ndjson" => Ok(FileFormat::Ndjson),
        _ => Err("there are csv and ndjson".to_owned()),
    }
}

impl RowArguments {
    fn format(&self, file: Option<&Path>) -> anyhow::Result<FileFormat> {
        let ending = file
            .and_then(Path::extension)
            .and_then(|ending| ending.to_str());
        match (self.format, ending) {
            (Some(format), _) => Ok(format),
            (None, Some("csv")) => Ok(FileFormat::Csv),
            (None, Some("ndjson" | "jsonl")) => Ok(FileFormat::Ndjson),
            _ => bail!("say with --format whether it is csv or ndjson"),
        }
    }
}

impl Command for Registry {
    async fn run(self) -> anyhow::Result<()> {
        let Registry { action, client } = self;
        match action {
            Action::Import {
                file,
                rows,
                update,
                check,
            } => {
                let format = rows.format(Some(&file))?;
                let text = read(&file)?;
                let import = Import {
                    client,
                    kind: rows.kind,
                    update,
                    check,
                };
                import.run(format, &text).await
            }
            Action::Export { file, rows, as_of } => {
                let format = match &file {
                    None => rows.format.unwrap_or(FileFormat::Ndjson),
                    file => rows.format(file.as_deref())?,
                };
                let all = fetch(&client, rows.kind, as_of.as_deref()).await?;
                let text = rows.kind.write_rows(format, &all);
                match file {
                    None => std::io::stdout().write_all(&text)?,
                    Some(file) => std::fs::write(&file, text)
                        .with_context(|| format!("cannot write {}", file.display()))?,
                }
                Ok(())
            }
        }
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// What became of a row.
enum Outcome {
    Created,
    Updated,
    Unchanged,
}

struct Import {
    client: ApiClient,
    kind: &'static Resource,
    update: bool,
    check: bool,
}

impl Import {
    async fn run(&self, format: FileFormat, text: &[u8]) -> anyhow::Result<()> {
        let (mut created, mut updated, mut unchanged, mut refused) = (0, 0, 0, 0);
        for (line, row) in self.kind.read_rows(format, text)? {
            let outcome = match row {
                Err(faults) => {
                    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                    Err(faults.join("; "))
                }
                Ok(_) if self.check => Ok(Outcome::Unchanged),
                Ok(row) => self.register(row).await?,
            };
            match outcome {
                Ok(Outcome::Created) => created += 1,
                Ok(Outcome::Updated) => updated += 1,
                Ok(Outcome::Unchanged) => unchanged += 1,
                Err(reason) => {
                    refused += 1;
                    eprintln!("line {line}: {reason}");
                }
            }
        }
        println!(
            "{created} created, {updated} changed, {unchanged} as they were, {refused} refused"
        );
        match refused {
            0 => Ok(()),
            _ => bail!("{refused} rows were not taken; correct them and import the file again"),
        }
    }

    /// Registers a row: what became of it, or why the server does not take it. An error is one of
    /// the way there.
    async fn register(&self, row: FileRow) -> anyhow::Result<Result<Outcome, String>> {
        let FileRow { id, values } = row;
        let path = format!("{}/{id}", self.kind.path);
        let found = self.client.get(&path)?;
        let Some(found) = self
            .client
            .send_unless(found, StatusCode::NOT_FOUND)
            .await?
        else {
            return self.create(id, values).await;
        };
        let version = found.headers().get(header::ETAG).cloned();
        let there: Map<String, Value> = found.json().await?;
        if self.kind.check(&there).is_ok_and(|there| there == values) {
            return Ok(Ok(Outcome::Unchanged));
        }
        if !self.update {
            let singular = self.kind.singular;
            return Ok(Err(format!(
                "there is a {singular} {id:?} already, with other fields; --update changes it"
            )));
        }
        let version =
            version.context("the answer has no ETag; is that a server of this version?")?;
        let request = self.client.request(Method::PUT, &path)?;
        let request = request.header(header::IF_MATCH, version).json(&values);
        Ok(self
            .client
            .accepted(request)
            .await?
            .map(|()| Outcome::Updated))
    }

    async fn create(&self, id: String, values: Values) -> anyhow::Result<Result<Outcome, String>> {
        let mut whole = values;
        whole.insert("id".to_owned(), Value::String(id));
        let request = self.client.post(self.kind.path)?.json(&whole);
        Ok(self
            .client
            .accepted(request)
            .await?
            .map(|()| Outcome::Created))
    }
}

/// Every resource of a kind, now or at a time.
async fn fetch(
    client: &ApiClient,
    kind: &'static Resource,
    as_of: Option<&str>,
) -> anyhow::Result<Vec<ResourceVersion>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let mut request = client.get(kind.path)?.query(&[("limit", PAGE)]);
        request = request.query(&[("after", after.as_str())]);
        if let Some(as_of) = as_of {
            request = request.query(&[("as_of", as_of)]);
        }
        let page = client.send_json(request).await?;
        let rows = page[kind.name].as_array();
        let rows = rows.context("the answer has no list; is that a server of this version?")?;
        all.extend(rows.iter().filter_map(|row| version(kind, row)));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => return Ok(all),
        }
    }
}

/// A row of a list. The fields of a newer server that this program does not know are left out.
fn version(kind: &'static Resource, row: &Value) -> Option<ResourceVersion> {
    let given = row.as_object()?;
    let known = kind.fields.iter().filter_map(|field| {
        let name = field.name().to_owned();
        let value = given.get(&name)?.clone();
        Some((name, value))
    });
    Some(ResourceVersion {
        id: row["id"].as_str()?.to_owned(),
        version: row["version"].as_i64()?,
        updated_us: 0,
        updated_by: String::new(),
        values: known.collect(),
    })
}
