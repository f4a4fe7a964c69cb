//! Names of columns that a statement does not name, as PostgreSQL gives them: a function's, a
//! type's, else `?column?`. Two columns may have the same.
//!
//! The engine calls such a column after its expression and refuses two that are the same. Each
//! gets its name here, with a [`SEPARATOR`] where it could be taken for another column.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, CastKind, DataType, ExactNumberInfo, Expr, GroupByExpr, Ident, ObjectName,
    OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, TrimWhereField, UnaryOperator,
    Value, VisitMut, VisitorMut, visit_expressions,
};

use crate::pg_catalog::output::SEPARATOR;

/// What PostgreSQL calls a column that has no name.
const NO_NAME: &str = "?column?";

/// Names every column of a query and of the queries inside of it.
pub fn name_columns(query: &mut Query) {
    name_output(query);
    // The visitor breaks off at nothing.
    let _ = VisitMut::visit(query, &mut InnerSelects);
}

/// The columns that a client sees.
fn name_output(query: &mut Query) {
    let names = name_set(&mut query.body);
    let Some(OrderByKind::Expressions(order)) = query.order_by.as_mut().map(|by| &mut by.kind)
    else {
        return;
    };
    for OrderByExpr { expr, .. } in order {
        let named = names.iter().find(|named| match &*expr {
            Expr::Identifier(ident) => named.name == ident.value,
            // A number is the place of a column.
            Expr::Value(_) => false,
            other => named.expr == *other,
        });
        if let Some(named) = named {
            *expr = Expr::Identifier(Ident::with_quote('"', &named.alias));
        }
    }
}

/// A column that was given a name.
struct NamedColumn {
    name: String,
    expr: Expr,
    alias: String,
}

/// The columns of the first query of a set that were given names.
fn name_set(body: &mut SetExpr) -> Vec<NamedColumn> {
    match body {
        SetExpr::Select(select) => name_marked(select),
        SetExpr::SetOperation { left, right, .. } => {
            let names = name_set(left);
            name_set(right);
            names
        }
        SetExpr::Query(query) => {
            name_output(query);
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn name_marked(select: &mut Select) -> Vec<NamedColumn> {
    let mut given = Vec::new();
    let mut seen = HashSet::new();
    let has_wildcard = select.projection.iter().any(is_wildcard);
    for (index, item) in select.projection.iter_mut().enumerate() {
        let marked = |name: &str| format!("{name}{SEPARATOR}{index}");
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = name_of(expr);
                let written = expr.clone();
                type_literal(expr);
                let is_new = seen.insert(name.clone());
                if is_column(expr) && is_new && !has_wildcard {
                    continue;
                }
                let alias = marked(&name);
                if is_new {
                    given.push(NamedColumn {
                        name,
                        expr: written,
                        alias: alias.clone(),
                    });
                }
                *item = with_alias(expr, &alias);
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                type_literal(expr);
                let is_new = seen.insert(alias.value.clone());
                *alias = match is_new {
                    true => alias.clone(),
                    false => Ident::with_quote('"', marked(&alias.value)),
                };
            }
            _ => {}
        }
    }
    given
}

/// A number that stands there alone is an int4 where it fits, as in PostgreSQL; the engine's has 64
/// bits, which some clients give as text. With a point, or too long for 64 bits, it is a numeric.
fn type_literal(expr: &mut Expr) {
    let (sign, value) = match &*expr {
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: positive,
        } => ("-", positive.as_ref()),
        other => ("", other),
    };
    let Expr::Value(value) = value else {
        return;
    };
    let Value::Number(digits, _) = &value.value else {
        return;
    };
    let data_type = match digits.split_once('.') {
        _ if digits.contains(['e', 'E']) => return,
        None if digits.parse::<i32>().is_ok() => DataType::Int(None),
        None if digits.parse::<i64>().is_ok() => return,
        None => DataType::Numeric(ExactNumberInfo::PrecisionAndScale(38, 0)),
        Some((_, fraction)) if digits.len() <= 38 => {
            // No more than 38.
            let scale = fraction.len() as i64;
            DataType::Numeric(ExactNumberInfo::PrecisionAndScale(38, scale))
        }
        Some(_) => return,
    };
    let text = Value::SingleQuotedString(format!("{sign}{digits}"));
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(text.with_empty_span())),
        data_type,
        array: false,
        format: None,
    };
}

fn is_wildcard(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
    )
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

fn with_alias(expr: &mut Expr, alias: &str) -> SelectItem {
    let expr = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
    let alias = Ident::with_quote('"', alias);
    SelectItem::ExprWithAlias { expr, alias }
}

/// Names columns of queries whose columns other queries read.
struct InnerSelects;

impl VisitorMut for InnerSelects {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let grouped = grouping_columns(select);
        let mut seen = HashSet::new();
        for (index, item) in select.projection.iter_mut().enumerate() {
            match item {
                SelectItem::UnnamedExpr(expr) if is_column(expr) => {
                    seen.insert(name_of(expr));
                }
                SelectItem::UnnamedExpr(expr) => {
                    let name = name_of(expr);
                    // GROUP BY and HAVING mean the column that the rows have.
                    let is_free = !grouped.contains(&name) && seen.insert(name.clone());
                    let alias = match is_free {
                        true => name,
                        false => format!("{name}{SEPARATOR}{index}"),
                    };
                    *item = with_alias(expr, &alias);
                }
                SelectItem::ExprWithAlias { alias, .. } => {
                    seen.insert(alias.value.clone());
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// The columns that GROUP BY and HAVING name.
fn grouping_columns(select: &Select) -> HashSet<String> {
    let mut columns = HashSet::new();
    let mut add = |expr: &Expr| {
        let _ = visit_expressions(expr, |expr| {
            if let Expr::Identifier(ident) = expr {
                columns.insert(ident.value.clone());
            }
            ControlFlow::<()>::Continue(())
        });
    };
    if let GroupByExpr::Expressions(exprs, _) = &select.group_by {
        exprs.iter().for_each(&mut add);
    }
    select.having.iter().for_each(add);
    columns
}

/// The name of a column that is this expression.
pub fn name_of(expr: &Expr) -> String {
    named(expr).unwrap_or_else(|| NO_NAME.to_owned())
}

fn named(expr: &Expr) -> Option<String> {
    let fixed = |name: &str| Some(name.to_owned());
    match expr {
        Expr::Identifier(ident) => Some(ident_name(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(ident_name),
        Expr::Nested(inner) => named(inner),
        Expr::Collate { expr, .. } => named(expr),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(field) => named(field),
                AccessExpr::Subscript(_) => None,
            });
            field.or_else(|| named(root))
        }
        Expr::Function(function) => last_name(&function.name),
        Expr::Cast {
            expr, data_type, ..
        } => named(expr).or_else(|| Some(type_name(data_type))),
        Expr::TypedString(typed) => Some(type_name(&typed.data_type)),
        Expr::Interval(_) => fixed("interval"),
        Expr::Case { else_result, .. } => {
            let of_else = else_result.as_deref().filter(|result| is_column(result));
            of_else.and_then(named).or_else(|| fixed("case"))
        }
        Expr::Exists { .. } => fixed("exists"),
        Expr::Subquery(query) => name_of_subquery(query),
        Expr::Array(_) => fixed("array"),
        Expr::Tuple(_) => fixed("row"),
        Expr::Extract { .. } => fixed("extract"),
        Expr::Ceil { .. } => fixed("ceil"),
        Expr::Floor { .. } => fixed("floor"),
        Expr::Position { .. } => fixed("position"),
        Expr::Substring { .. } => fixed("substring"),
        Expr::Overlay { .. } => fixed("overlay"),
        Expr::AtTimeZone { .. } => fixed("timezone"),
        Expr::Trim { trim_where, .. } => fixed(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => fixed("bool"),
        _ => None,
    }
}

/// A subquery's column has the name of its own column.
fn name_of_subquery(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    match select.projection.first()? {
        SelectItem::UnnamedExpr(expr) => named(expr),
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    }
}

fn ident_name(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

fn last_name(name: &ObjectName) -> Option<String> {
    name.0.last()?.as_ident().map(ident_name)
}

/// PostgreSQL's own name of a type.
fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Custom(name, _) => return last_name(name).unwrap_or_default(),
        DataType::BigInt(_) | DataType::Int8(_) => "int8",
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
        DataType::SmallInt(_) | DataType::Int2(_) => "int2",
        DataType::Real | DataType::Float4 => "float4",
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 | DataType::Float(_) => {
            "float8"
        }
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric",
        DataType::Boolean | DataType::Bool => "bool",
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => {
            "varchar"
        }
        DataType::Char(_) | DataType::Character(_) => "bpchar",
        DataType::Regclass => "regclass",
        DataType::Timestamp(..) | DataType::Time(..) => return timed_name(data_type),
        DataType::Interval { .. } => "interval",
        other => {
            let text = other.to_string().to_lowercase();
            return text
                .split(['(', '[', ' '])
                .next()
                .unwrap_or_default()
                .to_owned();
        }
    };
    name.to_owned()
}

fn timed_name(data_type: &DataType) -> String {
    let text = data_type.to_string().to_lowercase();
    let base = match text.starts_with("timestamp") {
        true => "timestamp",
        false => "time",
    };
    let has_zone = text.contains("with time zone") || text.ends_with("tz");
    format!("{base}{}", if has_zone { "tz" } else { "" })
}
