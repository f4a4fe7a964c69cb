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
use crate::pg_catalog::names::{Names, PROC_COLUMNS, RegType};
use crate::pg_catalog::own_tables::{EMPTY, OWNER, USERS, roles, settings, users};
use crate::pg_catalog::{PG_CATALOG, information_schema};

/// The number of `pg_class` itself, which says what a comment is about.
const PG_CLASS: i32 = 1_259;
/// Numbers of tables of the catalogue that clients know by heart.
const FIXED_NUMBERS: &[(&str, i32)] = &[
    ("pg_type", 1_247),
    ("pg_attribute", 1_249),
    ("pg_proc", 1_255),
    ("pg_class", PG_CLASS),
    ("pg_database", 1_262),
    ("pg_authid", 1_260),
    ("pg_tablespace", 1_213),
    ("pg_attrdef", 2_604),
    ("pg_constraint", 2_606),
    ("pg_description", 2_609),
    ("pg_index", 2_610),
    ("pg_namespace", 2_615),
    ("pg_trigger", 2_620),
    ("pg_extension", 3_079),
];

/// The schema and the numbers of its relations.
pub struct Tables {
    /// The schema.
    pub schema: Arc<dyn SchemaProvider>,
    /// What functions look up.
    pub relations: Arc<Relations>,
    /// Numbers and names of what there is.
    pub names: Arc<Names>,
}

/// Makes all tables, which describe these. They never change while the process lives, so that each
/// is made once.
pub async fn schema(context: &SessionContext, described: &[Described]) -> Result<Tables> {
    let described = Arc::new(described.to_vec());
    let static_tables = Arc::new(PgCatalogStaticTables::try_new()?);
    let catalog = OurCatalog(described.clone());
    let stock = PgCatalogSchemaProvider::try_new(catalog, static_tables, EmptyContextProvider)?;
    // Relations are numbered by the first table that lists them.
    let classes = with_fixed_numbers(&rows(context, &stock, "pg_class").await?)?;
    let relations = Arc::new(relations(&classes, &described)?);
    let mut names = Names::default();
    names.list(RegType::Class, &classes, "relname")?;
    for (kind, table, name) in [
        (RegType::Type, "pg_type", "typname"),
        (RegType::Proc, "pg_proc", "proname"),
        (RegType::Namespace, "pg_namespace", "nspname"),
    ] {
        names.list(kind, &rows(context, &stock, table).await?, name)?;
    }
    names.list(RegType::Role, &roles()?, "rolname")?;
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
            "pg_type" => {
                let types = completed(rows(context, &stock, name).await?)?;
                memory(with_functions(&types, &names)?)?
            }
            "pg_description" => memory(descriptions(&relations)?)?,
            "pg_roles" | "pg_authid" => memory(roles()?)?,
            "pg_database" | "pg_namespace" | "pg_tables" => {
                memory(completed(owned(rows(context, &stock, name).await?)?)?)?
            }
            "pg_settings" => memory(settings()?)?,
            _ => memory(completed(rows(context, &stock, name).await?)?)?,
        };
        schema.register_table((*name).to_owned(), table)?;
    }
    for name in USERS {
        schema.register_table(name.to_owned(), memory(users()?)?)?;
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
        relations,
        names: Arc::new(names),
    })
}

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

/// The tables of the catalogue under the numbers that they have everywhere. No column is listed of
/// them, so that nothing else knows the numbers they had.
fn with_fixed_numbers(classes: &RecordBatch) -> Result<RecordBatch> {
    let names: &StringArray = column(classes, "relname")?.as_string();
    let numbers = column(classes, "oid")?.as_primitive::<Int32Type>();
    let number = |row: usize| {
        let mut fixed = FIXED_NUMBERS.iter();
        let fixed = fixed.find(|(name, _)| *name == names.value(row));
        fixed.map_or(numbers.value(row), |(_, number)| *number)
    };
    let numbers: Int32Array = (0..classes.num_rows())
        .map(|row| Some(number(row)))
        .collect();
    let field = Field::new("oid", DataType::Int32, false);
    with_columns(classes, vec![(field, Arc::new(numbers))])
}

/// Types whose functions are numbers, by which clients join them with `pg_proc`.
fn with_functions(types: &RecordBatch, names: &Names) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, array) in types.schema().fields().iter().zip(types.columns()) {
        let of_function = PROC_COLUMNS.contains(&field.name().as_str());
        let (field, array) = match array.as_string_opt::<i32>() {
            Some(texts) if of_function => {
                let number = |text: Option<&str>| names.number(RegType::Proc, text?);
                let numbers: Int32Array = texts.iter().map(number).collect();
                let numbers: ArrayRef = Arc::new(numbers);
                (Field::new(field.name(), DataType::Int32, true), numbers)
            }
            _ => (field.as_ref().clone(), array.clone()),
        };
        fields.push(field);
        columns.push(array);
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
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

/// Columns that are lists in PostgreSQL and are taken apart by clients. All are NULL here.
const LISTS: &[&str] = &[
    "attacl",
    "attfdwoptions",
    "attoptions",
    "datacl",
    "defaclacl",
    "evttags",
    "extcondition",
    "extconfig",
    "fdwacl",
    "fdwoptions",
    "ftoptions",
    "lanacl",
    "nspacl",
    "proacl",
    "proargnames",
    "proconfig",
    "setconfig",
    "spcacl",
    "spcoptions",
    "srvacl",
    "srvoptions",
    "typacl",
    "umoptions",
];

/// Columns that had another name in the version that clients are told: the old name, and the new.
const RENAMED: &[(&str, &str)] = &[
    ("colliculocale", "colllocale"),
    ("daticulocale", "datlocale"),
];

/// A table with the types and names that clients of the version expect.
fn completed(batch: RecordBatch) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let list = DataType::new_list(DataType::Utf8, true);
    let fields = batch.schema().fields().iter().cloned().collect::<Vec<_>>();
    let columns = fields.into_iter().zip(batch.columns().iter().cloned());
    let columns = columns.map(
        |(field, array)| match LISTS.contains(&field.name().as_str()) {
            true => {
                let field = Field::new(field.name(), list.clone(), true);
                (Arc::new(field), new_null_array(&list, rows))
            }
            false => (field, array),
        },
    );
    let (fields, columns): (Vec<Arc<Field>>, Vec<ArrayRef>) = columns.unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let old = RENAMED.iter().filter_map(|(old, new)| {
        let column = batch.column_by_name(new)?.clone();
        Some((Field::new(*old, column.data_type().clone(), true), column))
    });
    let old = old.collect();
    with_columns(&batch, old)
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
