//! Subqueries of statements about the catalogue that stand where a value is wanted.
//!
//! The engine joins a subquery that needs its row when it is an aggregate, so that one which is not
//! takes the first of its values. What it cannot join becomes NULL, or an empty list.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, ObjectName, OrderByExpr,
    OrderByKind, Query, Select, SelectItem, SetExpr, Value, VisitorMut, visit_expressions,
};

/// Functions whose value is of many rows.
const AGGREGATES: [&str; 17] = [
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "first_value",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "last_value",
    "max",
    "min",
    "string_agg",
    "sum",
    "xmlagg",
];

/// What is made of a subquery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subqueries {
    /// An aggregate, which the engine joins.
    Joined,
    /// NULL or an empty list.
    Absent,
}

/// Whether a statement has a subquery that stands for a value.
pub fn has_any(query: &Query) -> bool {
    visit_expressions(query, |expr| break_if(is_subquery(expr))).is_break()
}

fn break_if(found: bool) -> ControlFlow<()> {
    match found {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

fn is_subquery(expr: &Expr) -> bool {
    match expr {
        Expr::Subquery(_) => true,
        Expr::Function(function) => matches!(function.args, FunctionArguments::Subquery(_)),
        _ => false,
    }
}

impl VisitorMut for Subqueries {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Subquery(query) => {
                let joined = *self == Self::Joined && make_scalar(query);
                if !joined {
                    *expr = null();
                }
            }
            Expr::Function(function) => {
                let FunctionArguments::Subquery(query) = &mut function.args else {
                    return ControlFlow::Continue(());
                };
                let joined = *self == Self::Joined && aggregate(query, "array_agg");
                let list = match joined {
                    true => Expr::Subquery(query.clone()),
                    false => call("make_array", vec![text("")]),
                };
                *expr = match joined {
                    true => call("empty_if_null", vec![list]),
                    false => call("array_remove", vec![list, text("")]),
                };
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Makes a query give one value. False where that is not possible.
fn make_scalar(query: &mut Query) -> bool {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return false;
    };
    if query.with.is_some() {
        return false;
    }
    if select.from.is_empty() || is_aggregate(select) {
        return true;
    }
    aggregate(query, "first_value")
}

/// Puts an aggregate around the one column of a query, in the order of the query.
fn aggregate(query: &mut Query, function: &str) -> bool {
    let order = match query.order_by.take().map(|by| by.kind) {
        Some(OrderByKind::Expressions(order)) => order,
        Some(OrderByKind::All(_)) => return false,
        None => Vec::new(),
    };
    query.limit_clause = None;
    query.fetch = None;
    let SetExpr::Select(select) = query.body.as_mut() else {
        return false;
    };
    if query.with.is_some() || is_aggregate(select) {
        return false;
    }
    let [item] = select.projection.as_mut_slice() else {
        return false;
    };
    let (expr, alias) = match item {
        SelectItem::UnnamedExpr(expr) => (expr.clone(), Ident::new("value")),
        SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), alias.clone()),
        _ => return false,
    };
    let is_distinct = select.distinct.take().is_some();
    let order = order.into_iter().map(|by| of_position(by, &expr));
    let mut call = call(function, vec![expr.clone()]);
    if let Expr::Function(Function {
        args: FunctionArguments::List(list),
        ..
    }) = &mut call
    {
        list.duplicate_treatment =
            (is_distinct && function == "array_agg").then_some(DuplicateTreatment::Distinct);
        let order: Vec<OrderByExpr> = order.collect();
        if !order.is_empty() {
            list.clauses.push(FunctionArgumentClause::OrderBy(order));
        }
    }
    *item = SelectItem::ExprWithAlias { expr: call, alias };
    true
}

/// `ORDER BY 1` is the column itself.
fn of_position(mut by: OrderByExpr, column: &Expr) -> OrderByExpr {
    if let Expr::Value(value) = &by.expr
        && matches!(&value.value, Value::Number(..))
    {
        by.expr = column.clone();
    }
    by
}

fn is_aggregate(select: &Select) -> bool {
    let calls_one = |expr: &Expr| {
        let Expr::Function(function) = expr else {
            return false;
        };
        let name = function.name.0.last().and_then(|part| part.as_ident());
        name.is_some_and(|name| AGGREGATES.contains(&name.value.to_lowercase().as_str()))
    };
    let is_grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(exprs, _) => !exprs.is_empty(),
    };
    let mut items = select.projection.iter();
    is_grouped
        || items.any(|item| visit_expressions(item, |expr| break_if(calls_one(expr))).is_break())
}

/// NULL.
pub fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

/// A text.
pub fn text(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span())
}

/// A call of a function.
pub fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter();
    let args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        args: FunctionArguments::List(FunctionArgumentList {
            args: args.collect(),
            duplicate_treatment: None,
            clauses: Vec::new(),
        }),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
