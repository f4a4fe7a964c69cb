//! What tools ask the catalogue before they show anything, in statements of our own that ask the
//! same: each runs, and answers what PostgreSQL would.

use crate::pg_catalog::answer_of;
use crate::server::{config, service, shares};

/// A tool, what it asks, and the rows it must get: every one of these, among others perhaps.
struct CatalogQuery {
    by: &'static str,
    sql: &'static str,
    rows: &'static [&'static [&'static str]],
}

const fn query(
    by: &'static str,
    sql: &'static str,
    rows: &'static [&'static [&'static str]],
) -> CatalogQuery {
    CatalogQuery { by, sql, rows }
}

const GRAFANA: &[CatalogQuery] = &[
    query(
        "Grafana: version",
        "SELECT current_setting('server_version_num')::int/100 AS version",
        &[&["1600"]],
    ),
    query(
        "Grafana: whether there is TimescaleDB",
        "SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'",
        &[],
    ),
    query(
        "Grafana: tables of its editor",
        "SELECT CASE WHEN quote_ident(table_schema) IN (SELECT CASE WHEN trim(s[i]) = '\"$user\"' \
         THEN user ELSE trim(s[i]) END FROM \
         generate_series(array_lower(string_to_array(current_setting('search_path'),','),1), \
         array_upper(string_to_array(current_setting('search_path'),','),1)) AS i, \
         string_to_array(current_setting('search_path'),',') s) THEN quote_ident(table_name) ELSE \
         quote_ident(table_schema) || '.' || quote_ident(table_name) END AS \"table\" FROM \
         information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', \
         'pg_catalog', '_timescaledb_cache') AND table_name = 'shares'",
        &[&["shares"]],
    ),
    query(
        "Grafana: columns of a table",
        "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM \
         information_schema.columns WHERE quote_ident(table_name) = 'shares' AND column_name = \
         'difficulty'",
        &[&["difficulty", "bigint"]],
    ),
    query(
        "Grafana: a time series",
        "SELECT floor(extract(epoch from event_time)/60)*60 AS \"time\", count(*) AS n FROM shares \
         WHERE event_time BETWEEN '2020-01-01T00:00:00Z' AND '2040-01-01T00:00:00Z' AND seq < 0 \
         GROUP BY 1 ORDER BY 1",
        &[],
    ),
    query(
        "Grafana: a time series with its switch for TimescaleDB",
        "SELECT time_bucket('60.000s', t) AS \"time\", count(*) AS n FROM (VALUES \
         (timestamp '2026-01-05 12:00:59.9'), (timestamp '2026-01-05 12:01:00'), \
         (timestamp '2026-01-05 12:01:30')) AS v (t) GROUP BY 1 ORDER BY 1",
        &[&["2026-01-05T12:00:00", "1"], &["2026-01-05T12:01:00", "2"]],
    ),
    query(
        "Grafana: the same of a column",
        "SELECT time_bucket('300.000s', event_time) AS \"time\", count(*) AS n FROM shares WHERE \
         event_time BETWEEN '2020-01-01T00:00:00Z' AND '2040-01-01T00:00:00Z' AND seq < 0 GROUP \
         BY 1 ORDER BY 1",
        &[],
    ),
];

const BI: &[CatalogQuery] = &[
    query(
        "Metabase: tables it may read",
        "SELECT n.nspname AS \"schema\", c.relname AS \"name\", CASE c.relkind WHEN 'r' THEN \
         'TABLE' WHEN 'v' THEN 'VIEW' END AS \"type\", d.description FROM pg_catalog.pg_class c \
         INNER JOIN pg_catalog.pg_namespace n ON c.relnamespace = n.oid LEFT JOIN \
         pg_catalog.pg_description d ON c.oid = d.objoid AND d.objsubid = 0 AND d.classoid = \
         'pg_class'::regclass WHERE c.relnamespace = n.oid AND n.nspname !~ '^pg_' AND \
         n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'f', 'm') AND \
         has_table_privilege(c.oid, 'SELECT') AND \
         c.relname = 'shares'",
        &[&[
            "public",
            "shares",
            "TABLE",
            "Every share a miner submitted, verified, with its verdict and the difficulty it is \
             credited at.",
        ]],
    ),
    query(
        "Metabase: columns and keys",
        "SELECT c.column_name AS name, c.udt_name AS \"database-type\", c.ordinal_position - 1 AS \
         position, pk.column_name IS NOT NULL AS \"pk?\" FROM information_schema.columns c LEFT \
         JOIN (SELECT tc.table_schema, tc.table_name, kc.column_name FROM \
         information_schema.table_constraints tc INNER JOIN information_schema.key_column_usage kc \
         ON tc.constraint_name = kc.constraint_name AND tc.table_schema = kc.table_schema AND \
         tc.table_name = kc.table_name WHERE tc.constraint_type = 'PRIMARY KEY') pk ON \
         c.table_schema = pk.table_schema AND c.table_name = pk.table_name AND c.column_name = \
         pk.column_name WHERE c.table_schema !~ '^information_schema|catalog_history|pg_' AND \
         c.table_name = 'shares' AND c.ordinal_position = 1",
        &[&["event_time", "timestamptz", "0", "false"]],
    ),
    query(
        "ADBC: keys of a table",
        "SELECT con.conname, ARRAY_AGG(attr.attname) AS colnames FROM pg_catalog.pg_constraint AS \
         con CROSS JOIN UNNEST(conkey) AS conkeys INNER JOIN pg_catalog.pg_class AS cls ON cls.oid \
         = con.conrelid INNER JOIN pg_catalog.pg_attribute AS attr ON attr.attnum = conkeys AND \
         cls.oid = attr.attrelid WHERE con.contype IN ('c', 'u', 'p') AND cls.relname = 'shares' \
         GROUP BY conname, contype",
        &[],
    ),
    query(
        "Metabase: enumerations",
        "SELECT nspname, typname, enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid \
         JOIN pg_namespace n ON n.oid = t.typnamespace",
        &[],
    ),
    query(
        "Npgsql and Power BI: types that have a receive function",
        "SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid FROM (SELECT \
         typ.oid, typ.typnamespace, typ.typname, typ.typtype, typ.typrelid, typ.typnotnull, \
         typ.relkind, elemtyp.oid AS elemtypoid, CASE WHEN elemproc.proname = 'array_recv' THEN \
         'a' ELSE elemtyp.typtype END AS elemtyptype FROM (SELECT typ.oid, typnamespace, typname, \
         typrelid, typnotnull, relkind, typelem AS typelemoid, CASE WHEN proc.proname = \
         'array_recv' THEN 'a' ELSE typ.typtype END AS typtype FROM pg_type AS typ LEFT JOIN \
         pg_class AS cls ON (cls.oid = typ.typrelid) LEFT JOIN pg_proc AS proc ON proc.oid = \
         typ.typreceive LEFT JOIN pg_range ON (pg_range.rngtypid = typ.oid)) AS typ LEFT JOIN \
         pg_type AS elemtyp ON elemtyp.oid = typ.typelemoid LEFT JOIN pg_class AS elemcls ON \
         (elemcls.oid = elemtyp.typrelid) LEFT JOIN pg_proc AS elemproc ON elemproc.oid = \
         elemtyp.typreceive) AS t JOIN pg_namespace AS ns ON (ns.oid = t.typnamespace) WHERE \
         t.typname IN ('int8', '_int8') ORDER BY t.oid",
        &[
            &["pg_catalog", "20", "int8", "b", "false", "-"],
            &["pg_catalog", "1016", "_int8", "a", "false", "20"],
        ],
    ),
];

const EDITORS: &[CatalogQuery] = &[
    query(
        "DBeaver: databases",
        "SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT \
         datistemplate",
        &[],
    ),
    query(
        "DBeaver: schemas with their comments",
        "SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN \
         pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = \
         'pg_namespace'::regclass ORDER BY nspname",
        &[],
    ),
    query(
        "DBeaver: the comment of a table",
        "SELECT c.relname, d.description FROM pg_catalog.pg_class c LEFT OUTER JOIN \
         pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = \
         'pg_class'::regclass WHERE c.relnamespace = 'public'::regnamespace AND c.relname = \
         'shares'",
        &[&[
            "shares",
            "Every share a miner submitted, verified, with its verdict and the difficulty it is \
             credited at.",
        ]],
    ),
    query(
        "DBeaver: columns with defaults",
        "SELECT c.relname, a.attname, a.attnum, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) \
         AS def_value, dsc.description FROM pg_catalog.pg_attribute a INNER JOIN \
         pg_catalog.pg_class c ON (a.attrelid = c.oid) LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON \
         (a.attrelid = ad.adrelid AND a.attnum = ad.adnum) LEFT OUTER JOIN \
         pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) WHERE \
         NOT a.attisdropped AND c.relkind NOT IN ('i', 'I', 'c') AND c.oid = 'shares'::regclass \
         AND a.attnum = 1",
        &[&[
            "shares",
            "event_time",
            "1",
            "-",
            "When the pool received the share.",
        ]],
    ),
    query(
        "pgAdmin: who and where",
        "SELECT roles.oid AS id, roles.rolname AS name, roles.rolsuper AS is_superuser FROM \
         pg_catalog.pg_roles AS roles WHERE rolname = current_user",
        &[],
    ),
    query(
        "pgAdmin: tables of a schema with their size",
        "SELECT rel.relname AS name, (SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid = \
         rel.oid AND tgisinternal = false) AS triggercount, pg_catalog.obj_description(rel.oid, \
         'pg_class') IS NOT NULL AS described FROM pg_catalog.pg_class rel WHERE rel.relkind IN \
         ('r', 's', 't', 'p') AND rel.relnamespace = 'public'::regnamespace AND rel.relname = \
         'shares' ORDER BY rel.relname",
        &[&["shares", "0", "true"]],
    ),
    query(
        "pgcli: search path",
        "SELECT * FROM unnest(current_schemas(true))",
        &[&["public"]],
    ),
    query(
        "pgcli: columns by type",
        "SELECT nsp.nspname AS schema_name, cls.relname AS table_name, att.attname AS column_name, \
         att.atttypid::regtype::text AS type_name, att.atthasdef AS has_default FROM \
         pg_catalog.pg_attribute att INNER JOIN pg_catalog.pg_class cls ON att.attrelid = cls.oid \
         INNER JOIN pg_catalog.pg_namespace nsp ON cls.relnamespace = nsp.oid LEFT OUTER JOIN \
         pg_attrdef def ON def.adrelid = att.attrelid AND def.adnum = att.attnum WHERE cls.relkind \
         = ANY(ARRAY['p', 'r']) AND NOT att.attisdropped AND att.attnum > 0 AND cls.relname = \
         'shares' AND att.attname = 'seq' ORDER BY 1, 2, att.attnum",
        &[&["public", "shares", "seq", "bigint", "false"]],
    ),
];

const DRIVERS: &[CatalogQuery] = &[
    query(
        "a type by its name",
        "SELECT typname AS name, oid, typarray AS array_oid, oid::regtype::text AS regtype, \
         typdelim FROM pg_type t WHERE t.oid = to_regtype('bigint')",
        &[&["int8", "20", "1016", "bigint", ","]],
    ),
    query(
        "a function of a type, as a name and as a number",
        "SELECT typreceive, typreceive::text, typreceive::oid > 0, typinput = \
         'pg_catalog.array_in'::regproc, typreceive = 'int8recv' FROM pg_type WHERE typname = \
         'int8'",
        &[&["int8recv", "int8recv", "true", "false", "true"]],
    ),
    query(
        "columns of an index in their order, of which there are none",
        "SELECT i.indrelid, unnest(i.indkey) AS attnum, generate_subscripts(i.indkey, 1) AS ord \
         FROM pg_catalog.pg_index i WHERE i.indisprimary",
        &[],
    ),
    query(
        "keys as JDBC takes them apart",
        "SELECT result.a, result.key_seq FROM (SELECT a.attname AS a, \
         (information_schema._pg_expandarray(i.indkey)).n AS key_seq, \
         information_schema._pg_expandarray(i.indkey) AS keys, a.attnum AS a_attnum FROM \
         pg_catalog.pg_attribute a JOIN pg_catalog.pg_index i ON (a.attrelid = i.indrelid)) result \
         WHERE result.a_attnum = (result.keys).x ORDER BY result.key_seq",
        &[],
    ),
    query(
        "psqlODBC: keys of a table",
        "select 'headframe'::name as \"PKTABLE_CAT\", ta.attname, ia.attnum, ic.relname from \
         pg_catalog.pg_attribute ta, pg_catalog.pg_attribute ia, pg_catalog.pg_class tc, \
         pg_catalog.pg_index i, pg_catalog.pg_namespace n, pg_catalog.pg_class ic where tc.relname \
         = 'shares' AND n.nspname = 'public' AND tc.oid = i.indrelid AND n.oid = tc.relnamespace \
         AND i.indisprimary = 't' AND ia.attrelid = i.indexrelid AND ta.attrelid = i.indrelid AND \
         ta.attnum = i.indkey[ia.attnum-1] AND (NOT ta.attisdropped) AND (NOT ia.attisdropped) AND \
         ic.oid = i.indexrelid order by ia.attnum",
        &[],
    ),
    query(
        "psqlODBC: who owns a table",
        "select relname, usename, nspname, 'x'::\"char\" from pg_catalog.pg_namespace, \
         pg_catalog.pg_class, pg_catalog.pg_user where nspname like 'public' and relname like \
         'shares' and pg_namespace.oid = relnamespace and relkind in ('r', 'v') and \
         pg_user.usesysid = relowner",
        &[&["shares", "headframe", "public", "x"]],
    ),
    query(
        "whoever asks for his rights",
        "SELECT grantee, table_name, privilege_type FROM information_schema.table_privileges WHERE \
         table_name = 'shares'",
        &[&["PUBLIC", "shares", "SELECT"]],
    ),
    query(
        "pgAdmin: where the server is",
        "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_postmaster_start_time() IS NULL, \
         inet_server_port(), txid_current_if_assigned()",
        &[&["false", "true", "-", "-"]],
    ),
    query(
        "DBeaver: what there is none of",
        "SELECT (SELECT count(*) FROM pg_catalog.pg_policies) + (SELECT count(*) FROM \
         pg_catalog.pg_rules) + (SELECT count(*) FROM pg_catalog.pg_sequences) + (SELECT count(*) \
         FROM pg_catalog.pg_available_extensions) + (SELECT count(*) FROM \
         information_schema.sequences) + (SELECT count(*) FROM information_schema.triggers) AS n",
        &[&["0"]],
    ),
    query(
        "DBD::Pg: conditions of a column",
        "SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint WHERE contype = \
         'c' AND conrelid = 16400 AND conkey = '{1}'",
        &[],
    ),
    query(
        "DBD::Pg: columns of a table",
        "SELECT a.attname, CASE a.attnotnull WHEN 't' THEN 0 ELSE 1 END AS \"NULLABLE\", CASE \
         a.attnotnull WHEN 't' THEN 'NO' ELSE 'YES' END AS \"IS_NULLABLE\", CASE c.relkind WHEN \
         'f' THEN 1 END AS \"FOREIGN\" FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c \
         ON (a.attrelid = c.oid) WHERE a.attnum >= 0 AND c.relname = 'shares' AND a.attname IN \
         ('pool', 'block_hash') ORDER BY a.attnum",
        &[&["pool", "0", "NO", "-"], &["block_hash", "1", "YES", "-"]],
    ),
    query(
        "a subquery that needs its row",
        "SELECT t.typname, (SELECT e.typname FROM pg_catalog.pg_type e WHERE e.oid = t.typelem) AS \
         element, ARRAY(SELECT a.typname FROM pg_catalog.pg_type a WHERE a.typelem = t.oid AND \
         a.typname = '_' || t.typname ORDER BY 1) AS arrays FROM pg_catalog.pg_type t WHERE \
         t.typname IN ('_int8', 'int8') ORDER BY 1 DESC",
        &[&["int8", "-", "[_int8]"], &["_int8", "int8", "[]"]],
    ),
    query(
        "a subquery in a condition",
        "SELECT count(*) > 0 FROM pg_catalog.pg_type t WHERE t.typrelid = 0 OR (SELECT c.relkind = \
         'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)",
        &[&["true"]],
    ),
    query(
        "LIKE with an escape of its own",
        "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname NOT LIKE 'pg/_' || '%' ESCAPE \
         '/' AND nspname LIKE 'pub%'",
        &[&["public"]],
    ),
    query(
        "publications, in a union whose columns have no names",
        "SELECT pubname, NULL, NULL FROM pg_catalog.pg_publication p WHERE p.puballtables UNION \
         SELECT pubname, NULL, NULL FROM pg_catalog.pg_publication p ORDER BY 1",
        &[],
    ),
];

#[tokio::test]
async fn tools_get_what_they_ask_for_first() {
    let service = service(&config(), vec![shares()]);
    let mut wrong = Vec::new();
    for query in [GRAFANA, BI, EDITORS, DRIVERS].into_iter().flatten() {
        let rows = match answer_of(&service, query.sql, Vec::new()).await {
            Ok(rows) => rows,
            Err(error) => {
                wrong.push(format!("{}: {error:?}", query.by));
                continue;
            }
        };
        for row in query.rows {
            if !rows.iter().any(|got| got == row) {
                wrong.push(format!("{}: {row:?} is not among {rows:?}", query.by));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
