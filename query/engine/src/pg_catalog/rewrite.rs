//! Statements of PostgreSQL's clients, rewritten to what the engine understands.
//!
//! The rules of `datafusion-pg-catalog` are made for the questions that clients ask the
//! catalogue, and some change answers: a subquery of a column that needs its row becomes NULL. They
//! are for statements about the catalogue alone; what reads our tables is changed only where its
//! meaning stays.

use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, Statement as Sql, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_pg_catalog::sql::rules::{
    CurrentUserVariableToSessionUserFunctionCall, RewriteArrayAnyAllOperation,
    RewritePgCatalogOperator, SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};

use crate::catalog::INFORMATION_SCHEMA;
use crate::pg_catalog::PG_CATALOG;

/// The rules.
pub struct Rewriter {
    of_catalogue: PostgresCompatibilityParser,
    of_all: Vec<Box<dyn SqlStatementRewriteRule>>,
}

impl Default for Rewriter {
    fn default() -> Self {
        Self {
            of_catalogue: PostgresCompatibilityParser::new(),
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
    pub fn rewrite(&self, statement: Statement, references: &[TableReference]) -> Statement {
        match statement {
            Statement::Statement(sql) => {
                Statement::Statement(Box::new(self.rewrite_sql(*sql, references)))
            }
            Statement::Explain(mut explain) => {
                *explain.statement = self.rewrite(*explain.statement, references);
                Statement::Explain(explain)
            }
            other => other,
        }
    }

    fn rewrite_sql(&self, sql: Sql, references: &[TableReference]) -> Sql {
        if references.is_empty() || references.iter().any(is_of_catalogue) {
            let mut sql = self.of_catalogue.rewrite(sql);
            // The visitor breaks off at nothing.
            let _ = sql.visit(&mut ArraysOfSubqueries);
            return sql;
        }
        self.of_all.iter().fold(sql, |sql, rule| rule.rewrite(sql))
    }
}

/// `ARRAY(SELECT …)` of names of roles and the like, of which there are none here, becomes an empty
/// list: the engine has no such function.
struct ArraysOfSubqueries;

impl VisitorMut for ArraysOfSubqueries {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && matches!(function.args, FunctionArguments::Subquery(_))
            && let Some(empty) = empty_list()
        {
            *expr = empty;
        }
        // A subquery that needs its row has no row here, and is not planned inside of CASE.
        if let Expr::Case {
            conditions,
            else_result,
            ..
        } = expr
        {
            let results = conditions.iter_mut().map(|when| &mut when.result);
            for result in results.chain(else_result.as_deref_mut()) {
                if matches!(result, Expr::Subquery(_)) {
                    *result = Expr::Value(Value::Null.with_empty_span());
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn empty_list() -> Option<Expr> {
    let parser = Parser::new(&PostgreSqlDialect {});
    let parser = parser.try_with_sql("array_remove(make_array(''), '')");
    parser.ok()?.parse_expr().ok()
}

fn is_of_catalogue(reference: &TableReference) -> bool {
    match reference.schema() {
        Some(schema) => schema == PG_CATALOG || schema == INFORMATION_SCHEMA,
        None => PG_CATALOG_TABLES.contains(&reference.table()),
    }
}
