//! Expressions that PostgreSQL has and the engine writes otherwise.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, DataType, Expr, FunctionArg, Ident, ObjectName,
    ObjectNamePart, Query, SelectItem, SetExpr, TableAliasColumnDef, TableFactor, Value,
    VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::catalog::SCHEMA;
use crate::pg_catalog::names::{PROC_COLUMNS, RegType};
use crate::pg_catalog::rewrite::subqueries::{call, null, text};
use crate::pg_catalog::{PG_CATALOG, own_tables};

/// `LIKE … ESCAPE`, of which the engine knows the backslash alone, `'\x00ff'::bytea`, and
/// `'a'::name`; all of them in all statements.
pub struct Escapes;

/// The digits of bytes that are written as text.
fn hex_digits(expr: &Expr) -> Option<String> {
    let Expr::Value(value) = expr else {
        return None;
    };
    match &value.value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
            text.strip_prefix("\\x").map(str::to_owned)
        }
        _ => None,
    }
}

impl VisitorMut for Escapes {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Cast {
            expr: written,
            data_type: DataType::Bytea,
            ..
        } = expr
            && let Some(digits) = hex_digits(written)
        {
            *expr = Expr::Value(Value::HexStringLiteral(digits).with_empty_span());
        }
        if let Expr::Cast { data_type, .. } = expr
            && NAME_TYPES.contains(&data_type.to_string().as_str())
        {
            *data_type = DataType::Text;
        }
        if let Expr::Like {
            pattern,
            escape_char,
            ..
        }
        | Expr::ILike {
            pattern,
            escape_char,
            ..
        } = expr
            && let Some(Value::SingleQuotedString(by)) = escape_char.as_ref().map(|by| &by.value)
            && by != "\\"
        {
            let by = by.clone();
            *escape_char = None;
            let given = std::mem::replace(pattern.as_mut(), text(""));
            let doubled = call("replace", vec![given, text("\\"), text("\\\\")]);
            **pattern = match by.is_empty() {
                true => doubled,
                false => call("replace", vec![doubled, text(&by), text("\\")]),
            };
        }
        ControlFlow::Continue(())
    }
}

/// Types whose numbers are written as names, and functions that give sets.
pub struct CatalogueExpressions;

/// Functions of one value that clients read as a table.
const SCALAR_SOURCES: [&str; 4] = [
    "string_to_array",
    "current_schemas",
    "current_setting",
    "regexp_split_to_array",
];

/// Types of the catalogue that are text.
const NAME_TYPES: [&str; 3] = ["name", "NAME", "\"char\""];

/// Columns of the catalogue that are true or false, and that clients compare with `'t'` and `'f'`.
const BOOLEAN_COLUMNS: [&str; 8] = [
    "attnotnull",
    "atthasdef",
    "attisdropped",
    "indisunique",
    "indisprimary",
    "relhasindex",
    "relispartition",
    "typnotnull",
];

/// Columns of the catalogue that are lists of columns.
const KEY_COLUMNS: [&str; 3] = ["conkey", "confkey", "indkey"];

impl VisitorMut for CatalogueExpressions {
    type Break = ();

    /// A function that is read as a table is a column of its own name.
    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let Some(empty) = keys_of_a_row(factor) {
            *factor = empty;
            return ControlFlow::Continue(());
        }
        if let TableFactor::UNNEST {
            alias: Some(alias),
            array_exprs,
            ..
        } = factor
            && alias.columns.is_empty()
            && array_exprs.len() == 1
        {
            alias.columns.push(TableAliasColumnDef {
                name: alias.name.clone(),
                data_type: None,
            });
        }
        if let TableFactor::Table {
            name, args: None, ..
        } = factor
            && let [ObjectNamePart::Identifier(table)] = name.0.as_slice()
            && own_tables::is_ours(&table.value)
        {
            *name = ObjectName::from(vec![Ident::new(PG_CATALOG), table.clone()]);
        }
        let TableFactor::Table {
            name,
            args: Some(args),
            alias: Some(alias),
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let function = name.0.last().and_then(|name| name.as_ident());
        let function = function
            .map(|name| name.value.to_lowercase())
            .unwrap_or_default();
        if !alias.columns.is_empty() {
            return ControlFlow::Continue(());
        }
        if function == "generate_series" {
            alias.columns.push(TableAliasColumnDef {
                name: alias.name.clone(),
                data_type: None,
            });
        } else if SCALAR_SOURCES.contains(&function.as_str())
            && let Some(query) = query_of_call(&function, &args.args, &alias.name)
        {
            *factor = TableFactor::Derived {
                lateral: false,
                subquery: Box::new(query),
                alias: Some(alias.clone()),
                sample: None,
            };
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::InSubquery {
            expr: inner,
            subquery,
            negated,
        } = expr
            && is_search_path(subquery)
        {
            *expr = Expr::InList {
                expr: inner.clone(),
                list: vec![call("session_user", Vec::new()), text(SCHEMA)],
                negated: *negated,
            };
        }
        if let Expr::Cast {
            expr: inner,
            data_type,
            ..
        } = expr
            && is_text(data_type)
        {
            if is_proc_column(inner) {
                *expr = call(RegType::Proc.output(), vec![inner.as_ref().clone()]);
            } else {
                shown_as_name(inner);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast {
                expr: inner,
                data_type,
                ..
            } => {
                if let Some(kind) = reg_type(data_type) {
                    *expr = call(kind.input(), vec![inner.as_ref().clone()]);
                }
            }
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq | BinaryOperator::NotEq,
                right,
            } if is_proc_column(left) && is_literal(right) => {
                **right = call(RegType::Proc.input(), vec![right.as_ref().clone()]);
            }
            Expr::Function(function) => {
                let name = function.name.0.last().and_then(|name| name.as_ident());
                match name.map(|name| name.value.to_lowercase()).as_deref() {
                    Some("_pg_expandarray") => *expr = call("unnest", vec![expr.clone()]),
                    Some("generate_subscripts") => *expr = call("unnest", vec![expr.clone()]),
                    _ => {}
                }
            }
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq | BinaryOperator::NotEq,
                right,
            } if is_column_of(left, &BOOLEAN_COLUMNS) => {
                if let Some(truth) = truth_of(right) {
                    **right = Expr::Value(Value::Boolean(truth).with_empty_span());
                }
            }
            // There is no key whose columns could be these; a list is compared with no text.
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } if is_column_of(left, &KEY_COLUMNS) && is_literal(right) => {
                *expr = Expr::Value(Value::Boolean(false).with_empty_span());
            }
            Expr::Case {
                operand: Some(operand),
                conditions,
                ..
            } if is_column_of(operand, &BOOLEAN_COLUMNS) => {
                for when in conditions {
                    if let Some(truth) = truth_of(&when.condition) {
                        when.condition = Expr::Value(Value::Boolean(truth).with_empty_span());
                    }
                }
            }
            // No comment is on a row that knows its table by this.
            Expr::CompoundIdentifier(idents)
                if idents.last().is_some_and(|last| last.value == "tableoid") =>
            {
                *expr = null();
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                if let (Expr::Nested(of), [AccessExpr::Dot(Expr::Identifier(field))]) =
                    (root.as_ref(), access_chain.as_slice())
                {
                    *expr = call("get_field", vec![of.as_ref().clone(), text(&field.value)]);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// `SELECT function(…) AS name`.
fn query_of_call(function: &str, args: &[FunctionArg], name: &Ident) -> Option<Query> {
    let args = args.iter().map(ToString::to_string).collect::<Vec<_>>();
    parsed(&format!("SELECT {function}({}) AS {name}", args.join(", ")))
}

fn parsed(sql: &str) -> Option<Query> {
    let parser = Parser::new(&PostgreSqlDialect {});
    let query = parser.try_with_sql(sql).ok()?.parse_query().ok()?;
    Some(*query)
}

/// Without rows: what clients take apart row by row with `UNNEST(conkey)` are the columns of keys
/// and indexes, of which there are none, and the engine has no such join.
fn keys_of_a_row(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs,
        with_offset: false,
        ..
    } = factor
    else {
        return None;
    };
    let [list] = array_exprs.as_slice() else {
        return None;
    };
    let name = match list {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(names) => names.last()?,
        _ => return None,
    };
    if !KEY_COLUMNS.contains(&name.value.as_str()) {
        return None;
    }
    let column = alias.columns.first();
    let column = column.map_or(&alias.name, |column| &column.name);
    let sql = format!("SELECT CAST(NULL AS SMALLINT) AS {column} WHERE false");
    Some(TableFactor::Derived {
        lateral: false,
        subquery: Box::new(parsed(&sql)?),
        alias: Some(alias.clone()),
        sample: None,
    })
}

/// Whether a query takes the entries of `search_path` apart and reads nothing else.
fn is_search_path(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return false;
    };
    let is_call = |factor: &TableFactor| {
        matches!(
            factor,
            TableFactor::Table { args: Some(_), .. } | TableFactor::UNNEST { .. }
        )
    };
    let mut tables = select.from.iter();
    let only_calls = tables.all(|table| table.joins.is_empty() && is_call(&table.relation));
    let from = select.from.iter().map(ToString::to_string);
    let mut from = from.map(|from| from.to_lowercase());
    only_calls
        && select.selection.is_none()
        && from.any(|from| from.contains("current_setting('search_path')"))
}

/// A column that is a name to clients, though it is a number.
fn shown_as_name(expr: &mut Expr) {
    let Expr::Cast {
        expr: inner,
        data_type,
        ..
    } = expr
    else {
        return;
    };
    let Some(kind) = reg_type(data_type) else {
        return;
    };
    // A name that is cast becomes its number first, and a number stays one.
    let number = call(kind.input(), vec![inner.as_ref().clone()]);
    *expr = call(kind.output(), vec![number]);
}

/// Columns that are names to clients, though they are numbers: those of a type such as `regclass`,
/// and the functions of `pg_type`.
pub fn show_names(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    for item in &mut select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) if is_proc_column(expr) => {
                let alias = match expr {
                    Expr::CompoundIdentifier(idents) => idents.last().cloned(),
                    Expr::Identifier(ident) => Some(ident.clone()),
                    _ => None,
                };
                let alias = alias.unwrap_or_else(|| Ident::new("name"));
                let expr = call(RegType::Proc.output(), vec![expr.clone()]);
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                shown_as_name(expr);
            }
            _ => {}
        }
    }
}

fn is_proc_column(expr: &Expr) -> bool {
    is_column_of(expr, &PROC_COLUMNS)
}

fn is_column_of(expr: &Expr, columns: &[&str]) -> bool {
    let name = match expr {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(idents) => idents.last(),
        _ => None,
    };
    name.is_some_and(|name| columns.contains(&name.value.as_str()))
}

/// What a text that stands for a truth says.
fn truth_of(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) if text == "t" || text == "true" => Some(true),
            Value::SingleQuotedString(text) if text == "f" || text == "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

/// The last part of a type's name.
fn last_word(data_type: &DataType) -> String {
    let name = data_type.to_string().to_lowercase();
    name.rsplit('.').next().unwrap_or_default().to_owned()
}

fn reg_type(data_type: &DataType) -> Option<RegType> {
    let name = last_word(data_type);
    RegType::ALL.into_iter().find(|kind| kind.name() == name)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(last_word(data_type).as_str(), "text" | "varchar" | "name")
}

/// Whether a type is `oid`, or a list of it.
pub fn is_oid(data_type: &DataType) -> Option<bool> {
    match data_type {
        DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)) => {
            (last_word(item) == "oid").then_some(true)
        }
        other => (last_word(other) == "oid").then_some(false),
    }
}
