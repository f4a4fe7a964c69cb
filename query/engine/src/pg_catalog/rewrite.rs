//! Statements of PostgreSQL's clients, rewritten to what the engine understands.
//!
//! The rules of `datafusion-pg-catalog` and some of ours are made for the questions that clients
//! ask the catalogue, and some change answers: a subquery that the engine cannot join becomes NULL.
//! They are for statements about the catalogue alone; what reads our tables is changed only where
//! its meaning stays.

use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Statement as Sql, Value, VisitMut, visit_expressions};
use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;
use datafusion_pg_catalog::sql::rules::{
    CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral, PrependUnqualifiedPgTableName,
    ResolveUnqualifiedIdentifier, RewriteArrayAnyAllOperation, RewritePgCatalogOperator,
    SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};
use headframe_query_front::sql::ParameterKind;

use crate::catalog::INFORMATION_SCHEMA;
use crate::pg_catalog::{PG_CATALOG, own_tables};

mod column_names;
mod expressions;
mod subqueries;

use expressions::{CatalogueExpressions, Escapes};
use subqueries::Subqueries;

/// The rules.
pub struct Rewriter {
    of_catalogue: Vec<Box<dyn SqlStatementRewriteRule>>,
    of_all: Vec<Box<dyn SqlStatementRewriteRule>>,
}

/// A statement as the engine is to try it.
pub struct Rewritten {
    /// What to plan, the most faithful first. Where one cannot be planned the next is tried.
    pub statements: Vec<Statement>,
    /// Whether it is about the catalogue.
    pub of_catalogue: bool,
    /// Parameters that are said to be numbers of the catalogue: the place of each, from 0.
    pub oid_parameters: Vec<(usize, ParameterKind)>,
}

impl Default for Rewriter {
    fn default() -> Self {
        Self {
            of_catalogue: vec![
                Box::new(ResolveUnqualifiedIdentifier),
                Box::new(RewriteArrayAnyAllOperation),
                Box::new(PrependUnqualifiedPgTableName),
                Box::new(StripCallableQualifier),
                Box::new(FixArrayLiteral),
                Box::new(CurrentUserVariableToSessionUserFunctionCall),
                Box::new(StripCollate),
                Box::new(RewritePgCatalogOperator),
            ],
            of_all: vec![
                Box::new(RewriteArrayAnyAllOperation),
                Box::new(StripCallableQualifier),
                Box::new(CurrentUserVariableToSessionUserFunctionCall),
                Box::new(StripCollate),
                Box::new(RewritePgCatalogOperator),
            ],
        }
    }
}

impl Rewriter {
    /// The statement as the engine understands it. `references` are the tables that it names.
    pub fn rewrite(&self, statement: Statement, references: &[TableReference]) -> Rewritten {
        let of_catalogue = references.is_empty() || references.iter().any(is_of_catalogue);
        let mut oids = Vec::new();
        let statements = match statement {
            Statement::Statement(mut sql) => {
                oids = oid_parameters(&sql);
                if let Sql::Query(query) = sql.as_mut() {
                    column_names::name_columns(query);
                }
                let statements = self.rewrite_sql(*sql, of_catalogue).into_iter();
                let statements = statements.map(|sql| Statement::Statement(Box::new(sql)));
                statements.collect()
            }
            Statement::Explain(mut explain) => {
                // Names of columns do not matter in a plan.
                if let Statement::Statement(sql) = explain.statement.as_mut()
                    && let Some(inner) = self.rewrite_sql((**sql).clone(), of_catalogue).pop()
                {
                    **sql = inner;
                }
                vec![Statement::Explain(explain)]
            }
            other => vec![other],
        };
        Rewritten {
            statements,
            of_catalogue,
            oid_parameters: oids,
        }
    }

    fn rewrite_sql(&self, sql: Sql, of_catalogue: bool) -> Vec<Sql> {
        let rules = match of_catalogue {
            true => &self.of_catalogue,
            false => &self.of_all,
        };
        let mut sql = rules.iter().fold(sql, |sql, rule| rule.rewrite(sql));
        // The visitors break off at nothing.
        let _ = VisitMut::visit(&mut sql, &mut Escapes);
        let (true, Sql::Query(query)) = (of_catalogue, &mut sql) else {
            return vec![sql];
        };
        expressions::show_names(query);
        let _ = VisitMut::visit(query, &mut CatalogueExpressions);
        if !subqueries::has_any(query) {
            return vec![sql];
        }
        let ways = [Subqueries::Joined, Subqueries::Absent];
        let rewritten = ways.into_iter().map(|mut way| {
            let mut sql = sql.clone();
            let _ = VisitMut::visit(&mut sql, &mut way);
            sql
        });
        rewritten.collect()
    }
}

/// The parameters that are cast to `oid`.
fn oid_parameters(sql: &Sql) -> Vec<(usize, ParameterKind)> {
    let mut found = Vec::new();
    // The walk breaks off at nothing.
    let _ = visit_expressions(sql, |expr| {
        if let Expr::Cast {
            expr, data_type, ..
        } = expr
            && let Expr::Value(value) = expr.as_ref()
            && let Value::Placeholder(name) = &value.value
            && let Some(number) = name.strip_prefix('$').and_then(|name| name.parse().ok())
            && let Some(is_list) = expressions::is_oid(data_type)
        {
            let place: usize = number;
            let kind = match is_list {
                true => ParameterKind::List(Box::new(ParameterKind::Oid)),
                false => ParameterKind::Oid,
            };
            found.push((place.saturating_sub(1), kind));
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

fn is_of_catalogue(reference: &TableReference) -> bool {
    match reference.schema() {
        Some(schema) => schema == PG_CATALOG || schema == INFORMATION_SCHEMA,
        None => {
            let name = reference.table();
            PG_CATALOG_TABLES.contains(&name) || own_tables::is_ours(name)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::sql::sqlparser::ast::{Query, SelectItem};
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::pg_catalog::output::SEPARATOR;

    fn query(sql: &str) -> Box<Query> {
        let mut parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        match parsed.remove(0) {
            Sql::Query(query) => query,
            other => panic!("{other} is no query"),
        }
    }

    #[test]
    fn columns_have_the_names_that_postgresql_gives() {
        for (sql, expected) in [
            ("SELECT 1", "?column?"),
            ("SELECT a + 1 FROM t", "?column?"),
            ("SELECT pg_catalog.Version()", "version"),
            ("SELECT a::text FROM t", "a"),
            ("SELECT '1'::int", "int4"),
            ("SELECT CAST(1 AS double precision)", "float8"),
            ("SELECT 'now'::timestamp with time zone", "timestamptz"),
            ("SELECT CASE WHEN a THEN 1 END FROM t", "case"),
            ("SELECT CASE WHEN a THEN 1 ELSE b END FROM t", "b"),
            ("SELECT (SELECT max(x) FROM t)", "max"),
            ("SELECT EXISTS (SELECT 1)", "exists"),
            ("SELECT ARRAY[1]", "array"),
            ("SELECT coalesce(a, 1) FROM t", "coalesce"),
            ("SELECT extract(epoch FROM a) FROM t", "extract"),
            ("SELECT current_user", "current_user"),
            ("SELECT trim(a) FROM t", "btrim"),
            ("SELECT (x).f FROM t", "f"),
            ("SELECT true", "bool"),
            ("SELECT date '2026-03-01'", "date"),
        ] {
            let query = query(sql);
            let item = &query.body.as_select().unwrap().projection[0];
            let SelectItem::UnnamedExpr(expr) = item else {
                panic!("{sql}")
            };
            assert_eq!(column_names::name_of(expr), expected, "{sql}");
        }
    }

    #[test]
    fn names_that_are_the_same_differ_to_the_engine() {
        for (sql, expected) in [
            (
                "SELECT 1, 1, a, a FROM t",
                "SELECT CAST('1' AS INT) AS \"?column?|0\", CAST('1' AS INT) AS \"?column?|1\", a, \
                 a AS \"a|3\" FROM t",
            ),
            (
                "SELECT count(*) FROM t ORDER BY count",
                "SELECT count(*) AS \"count|0\" FROM t ORDER BY \"count|0\"",
            ),
            (
                "SELECT DISTINCT lower(a) FROM t ORDER BY lower(a), b",
                "SELECT DISTINCT lower(a) AS \"lower|0\" FROM t ORDER BY \"lower|0\", b",
            ),
            (
                "SELECT 'b', 'a' FROM t ORDER BY 1",
                "SELECT 'b' AS \"?column?|0\", 'a' AS \"?column?|1\" FROM t ORDER BY 1",
            ),
            (
                "SELECT b.count FROM (SELECT count(*) FROM t) b",
                "SELECT b.count FROM (SELECT count(*) AS \"count\" FROM t) b",
            ),
            (
                "SELECT * FROM (SELECT a::date, 1 FROM t GROUP BY a) b",
                "SELECT * FROM (SELECT a::DATE AS \"a|0\", 1 AS \"?column?\" FROM t GROUP BY a) b",
            ),
            (
                "SELECT x, NULL, NULL FROM t UNION SELECT y, 1, 2 FROM t",
                "SELECT x, NULL AS \"?column?|1\", NULL AS \"?column?|2\" FROM t UNION SELECT y, \
                 CAST('1' AS INT) AS \"?column?|1\", CAST('2' AS INT) AS \"?column?|2\" FROM t",
            ),
        ] {
            let mut query = query(sql);
            column_names::name_columns(&mut query);
            assert_eq!(query.to_string().replace(SEPARATOR, "|"), expected);
        }
    }
}
