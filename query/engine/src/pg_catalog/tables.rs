//! The tables of `pg_catalog`: those of `datafusion-pg-catalog` over our tables and columns, and
//! what clients miss in them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Int16Type, Int32Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::{
    PG_CATALOG_TABLES, PgCatalogSchemaProvider, PgCatalogStaticTables,
};

use crate::catalog::described::Described;
use crate::catalog::{CATALOG, INFORMATION_SCHEMA, SCHEMA};
use crate::pg_catalog::functions::Relations;
use crate::pg_catalog::{PG_CATALOG, information_schema};

/// The number of `pg_class` itself, which says what a comment is about.
const PG_CLASS: i32 = 1_259;
/// The number of the owner of everything.
const OWNER: i32 = 10;

/// The schema and the numbers of its relations.
pub struct Tables {
    /// The schema.
    pub schema: Arc<dyn SchemaProvider>,
    /// What functions look up.
    pub names: Arc<Relations>,
}

/// Makes all tables, which describe these. They never change while the process lives, so that each
/// is made once.
pub async fn schema(context: &SessionContext, described: &[Described]) -> Result<Tables> {
    let described = Arc::new(described.to_vec());
    let static_tables = Arc::new(PgCatalogStaticTables::try_new()?);
    let catalog = OurCatalog(described.clone());
    let stock = PgCatalogSchemaProvider::try_new(catalog, static_tables, EmptyContextProvider)?;
    // Relations are numbered by the first table that lists them.
    let classes = rows(context, &stock, "pg_class").await?;
    let relations = Arc::new(relations(&classes, &described)?);
    let schema = MemorySchemaProvider::new();
    for name in PG_CATALOG_TABLES {
        let table = match *name {
            "pg_class" => memory(with_missing_columns(&classes)?)?,
            "pg_attribute" => {
                let attributes = rows(context, &stock, name).await?;
                memory(with_modifiers(&attributes, &relations, &described)?)?
            }
            "pg_index" | "pg_constraint" | "pg_statistic_ext" => {
                memory(without_rows(&rows(context, &stock, name).await?))?
            }
            "pg_description" => memory(descriptions(&relations)?)?,
            "pg_roles" | "pg_authid" => memory(roles()?)?,
            "pg_database" | "pg_namespace" | "pg_tables" => {
                memory(owned(rows(context, &stock, name).await?)?)?
            }
            _ => match stock.table(name).await? {
                Some(table) => table,
                None => continue,
            },
        };
        schema.register_table((*name).to_owned(), table)?;
    }
    for (name, columns) in EMPTY {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, kind)| Field::new(*name, kind.clone(), true))
            .collect();
        schema.register_table(
            (*name).to_owned(),
            memory(RecordBatch::new_empty(Arc::new(Schema::new(fields))))?,
        )?;
    }
    Ok(Tables {
        schema: Arc::new(schema),
        names: relations,
    })
}

/// Tables that clients ask for and that have no rows here.
const EMPTY: &[(&str, &[(&str, DataType)])] = &[
    (
        "pg_stat_activity",
        &[
            ("datid", DataType::Int32),
            ("datname", DataType::Utf8),
            ("pid", DataType::Int32),
            ("usename", DataType::Utf8),
            ("application_name", DataType::Utf8),
            ("client_addr", DataType::Utf8),
            ("state", DataType::Utf8),
            ("query", DataType::Utf8),
            ("backend_type", DataType::Utf8),
        ],
    ),
    (
        "pg_locks",
        &[
            ("locktype", DataType::Utf8),
            ("pid", DataType::Int32),
            ("granted", DataType::Boolean),
        ],
    ),
    (
        "pg_indexes",
        &[
            ("schemaname", DataType::Utf8),
            ("tablename", DataType::Utf8),
            ("indexname", DataType::Utf8),
            ("tablespace", DataType::Utf8),
            ("indexdef", DataType::Utf8),
        ],
    ),
];

async fn rows(
    context: &SessionContext,
    stock: &dyn SchemaProvider,
    name: &str,
) -> Result<RecordBatch> {
    let table = stock.table(name).await?;
    let table = table.ok_or_else(|| DataFusionError::Internal(format!("{name} is missing")))?;
    let schema = table.schema();
    let batches = context.read_table(table)?.collect().await?;
    Ok(arrow::compute::concat_batches(&schema, &batches)?)
}

fn memory(batch: RecordBatch) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(
        batch.schema(),
        vec![vec![batch]],
    )?))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let missing = || DataFusionError::Internal(format!("the catalogue has no column {name}"));
    batch.column_by_name(name).ok_or_else(missing)
}

fn with_columns(batch: &RecordBatch, more: Vec<(Field, ArrayRef)>) -> Result<RecordBatch> {
    let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for (field, array) in more {
        match fields.iter().position(|there| there.name() == field.name()) {
            Some(index) => columns[index] = array,
            None => {
                fields.push(Arc::new(field));
                columns.push(array);
            }
        }
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// Number and name of each relation of ours, with its comments.
fn relations(classes: &RecordBatch, described: &[Described]) -> Result<Relations> {
    let numbers = column(classes, "oid")?.as_primitive::<Int32Type>();
    let names: &StringArray = column(classes, "relname")?.as_string();
    let mut relations = Relations::default();
    for row in 0..classes.num_rows() {
        let number = numbers.value(row);
        relations
            .numbers
            .insert(names.value(row).to_owned(), number);
    }
    for table in described {
        let Some(number) = relations.numbers.get(&table.name).copied() else {
            continue;
        };
        relations.comments.insert((number, 0), table.doc.clone());
        for (column, index) in table.columns.iter().zip(1..) {
            relations
                .comments
                .insert((number, index), column.doc.to_owned());
        }
    }
    Ok(relations)
}

/// Who owns a relation and who may do what with it.
fn with_missing_columns(classes: &RecordBatch) -> Result<RecordBatch> {
    let rows = classes.num_rows();
    let owners: ArrayRef = Arc::new(Int32Array::from(vec![OWNER; rows]));
    let list = DataType::new_list(DataType::Utf8, true);
    let none = |of: &DataType| new_null_array(of, rows);
    let more = vec![
        (Field::new("relowner", DataType::Int32, false), owners),
        (Field::new("relacl", list.clone(), true), none(&list)),
        (Field::new("reloptions", list.clone(), true), none(&list)),
        (
            Field::new("relhasoids", DataType::Boolean, true),
            Arc::new(BooleanArray::from(vec![false; rows])),
        ),
    ];
    with_columns(classes, more)
}

fn owned(batch: RecordBatch) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let owner = ["datdba", "nspowner"]
        .into_iter()
        .find(|name| batch.column_by_name(name).is_some());
    match owner {
        Some(name) => {
            let owners: ArrayRef = Arc::new(Int32Array::from(vec![OWNER; rows]));
            with_columns(
                &batch,
                vec![(Field::new(name, DataType::Int32, false), owners)],
            )
        }
        None => Ok(batch),
    }
}

/// Precision and scale of decimals, which a client needs to know that they are whole numbers.
fn with_modifiers(
    attributes: &RecordBatch,
    relations: &Relations,
    described: &[Described],
) -> Result<RecordBatch> {
    let of = column(attributes, "attrelid")?.as_primitive::<Int32Type>();
    let numbers = column(attributes, "attnum")?.as_primitive::<Int16Type>();
    let table = |number: i32| {
        described
            .iter()
            .find(|table| relations.numbers.get(&table.name) == Some(&number))
    };
    let modifier = |row: usize| {
        let column = usize::try_from(numbers.value(row)).ok()?.checked_sub(1)?;
        match table(of.value(row))?.columns.get(column)?.kind.arrow() {
            DataType::Decimal128(precision, scale) => {
                Some(((i32::from(precision) << 16) | i32::from(scale)) + 4)
            }
            _ => None,
        }
    };
    let modifiers: Int32Array = (0..attributes.num_rows())
        .map(|row| Some(modifier(row).unwrap_or(-1)))
        .collect();
    let field = Field::new("atttypmod", DataType::Int32, false);
    with_columns(attributes, vec![(field, Arc::new(modifiers))])
}

/// Nothing has an index or a key here. The numbers of columns are lists, so that clients can take
/// them apart.
fn without_rows(batch: &RecordBatch) -> RecordBatch {
    let numbers = DataType::new_list(DataType::Int16, true);
    let texts = DataType::new_list(DataType::Utf8, true);
    let lists = [
        "indkey",
        "indclass",
        "indoption",
        "indcollation",
        "conkey",
        "confkey",
    ];
    let fields = batch
        .schema_ref()
        .fields()
        .iter()
        .map(|field| match field.name() {
            name if lists.contains(&name.as_str()) => Field::new(name, numbers.clone(), true),
            name if name == "stxkind" => Field::new(name, texts.clone(), true),
            _ => field.as_ref().clone(),
        });
    RecordBatch::new_empty(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// Our comments on tables and columns.
fn descriptions(relations: &Relations) -> Result<RecordBatch> {
    let mut comments: Vec<_> = relations.comments.iter().collect();
    comments.sort();
    let schema = Schema::new(vec![
        Field::new("objoid", DataType::Int32, false),
        Field::new("classoid", DataType::Int32, false),
        Field::new("objsubid", DataType::Int32, false),
        Field::new("description", DataType::Utf8, false),
    ]);
    let numbers = |of: fn(&(i32, i32)) -> i32| -> ArrayRef {
        Arc::new(
            comments
                .iter()
                .map(|(key, _)| Some(of(key)))
                .collect::<Int32Array>(),
        )
    };
    let texts: StringArray = comments
        .iter()
        .map(|(_, text)| Some(text.as_str()))
        .collect();
    let columns: Vec<ArrayRef> = vec![
        numbers(|key| key.0),
        numbers(|_| PG_CLASS),
        numbers(|key| key.1),
        Arc::new(texts),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// The owner of everything, who cannot log in. Who can is told to nobody.
fn roles() -> Result<RecordBatch> {
    let no = || -> ArrayRef { Arc::new(BooleanArray::from(vec![false])) };
    let number = |value: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![value])) };
    let text = |value: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let list = DataType::new_list(DataType::Utf8, true);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("oid", number(OWNER)),
        ("rolname", text(Some(CATALOG))),
        ("rolsuper", no()),
        ("rolinherit", no()),
        ("rolcreaterole", no()),
        ("rolcreatedb", no()),
        ("rolcanlogin", no()),
        ("rolreplication", no()),
        ("rolconnlimit", number(-1)),
        ("rolpassword", text(None)),
        ("rolvaliduntil", text(None)),
        ("rolbypassrls", no()),
        ("rolconfig", new_null_array(&list, 1)),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )?)
}

/// Names and columns of all tables, without opening one.
#[derive(Debug, Clone)]
struct OurCatalog(Arc<Vec<Described>>);

#[async_trait]
impl CatalogInfo for OurCatalog {
    async fn catalog_names(&self) -> Result<Vec<String>> {
        Ok(vec![CATALOG.to_owned()])
    }

    async fn schema_names(&self, _: &str) -> Result<Option<Vec<String>>> {
        Ok(Some(
            [SCHEMA, PG_CATALOG, INFORMATION_SCHEMA]
                .map(str::to_owned)
                .into(),
        ))
    }

    async fn table_names(&self, _: &str, schema: &str) -> Result<Option<Vec<String>>> {
        Ok(Some(match schema {
            SCHEMA => self.0.iter().map(|table| table.name.clone()).collect(),
            PG_CATALOG => PG_CATALOG_TABLES
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            _ => information_schema::NAMES.map(str::to_owned).into(),
        }))
    }

    async fn table_schema(&self, _: &str, schema: &str, table: &str) -> Result<Option<SchemaRef>> {
        if schema != SCHEMA {
            return Ok(Some(Arc::new(Schema::empty())));
        }
        let found = self.0.iter().find(|described| described.name == table);
        Ok(found.map(|table| {
            let fields = table.columns.iter();
            let fields: Vec<Field> = fields
                .map(|column| Field::new(column.name, column.kind.arrow(), !column.required))
                .collect();
            Arc::new(Schema::new(fields))
        }))
    }

    async fn table_type(&self, _: &str, schema: &str, table: &str) -> Result<Option<TableType>> {
        let is_table = |described: &&Described| described.kind == "BASE TABLE";
        let found = self.0.iter().find(|described| described.name == table);
        Ok(Some(match found.filter(is_table) {
            Some(_) => TableType::Base,
            None if schema == PG_CATALOG => TableType::Base,
            None => TableType::View,
        }))
    }
}
