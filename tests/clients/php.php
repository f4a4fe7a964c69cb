<?php
// PHP's pgsql, PDO for PostgreSQL, and PDO for ODBC with PostgreSQL's ODBC driver.
// The test starts it as `php php.php PORT`.
$port = (int)$argv[1];
const ENDLESS = "SELECT count(*) FROM generate_series(1, 100000000000)";

function same($got, $expected, string $about = "value"): void {
    if ($got !== $expected) {
        fwrite(STDERR, "$about: " . var_export($got, true) . " is not " . var_export($expected, true) . "\n");
        exit(1);
    }
}

function fails(string $state, callable $action): void {
    try {
        $action();
    } catch (PDOException $error) {
        same($error->errorInfo[0] ?? $error->getCode(), $state, $error->getMessage());
        return;
    }
    same("no error", $state);
}

// pgsql, which is libpq.
$db = pg_connect("host=127.0.0.1 port=$port user=reader dbname=headframe");
same(pg_fetch_row(pg_query($db, "SELECT count(*), sum(difficulty)::bigint FROM shares")), ["1000", "1499500"]);
$answer = pg_query_params($db, 'SELECT $1::int, $2::text, $3::bool, $4::text', [7, "it's ключ", "t", null]);
same(pg_fetch_row($answer), ["7", "it's ключ", "t", null]);
same([pg_field_type($answer, 0), pg_field_type($answer, 1), pg_field_type($answer, 2)], ["int4", "text", "bool"]);
pg_prepare($db, "by number", 'SELECT difficulty FROM shares WHERE producer_seq = $1');
same(array_map(fn($n) => pg_fetch_result(pg_execute($db, "by number", [$n]), 0, 0), [0, 1, 2]), ["1000", "1001", "1002"]);
same(pg_fetch_all_columns(pg_query($db, "SELECT miner FROM shares WHERE producer_seq < 3 ORDER BY producer_seq")), ["40", "41", "42"]);
pg_send_query($db, "SELECT 1 FROM nothing");
same(pg_result_error_field(pg_get_result($db), PGSQL_DIAG_SQLSTATE), "42P01");
pg_get_result($db);
$columns = pg_meta_data($db, "shares");
same([$columns["difficulty"]["type"], $columns["event_time"]["not null"], $columns["block_hash"]["not null"]], ["int8", true, false]);
same(pg_version($db)["server"], "16.6");
pg_send_query($db, ENDLESS);
usleep(300000);
same(pg_cancel_query($db), true);
same(pg_fetch_row(pg_query($db, "SELECT 1")), ["1"]);
pg_close($db);

// PDO, with statements that the server prepares, and with values written into the text.
foreach ([false, true] as $emulated) {
    $db = new PDO("pgsql:host=127.0.0.1;port=$port;dbname=headframe", "reader", "", [PDO::ATTR_EMULATE_PREPARES => $emulated]);
    $one = function (string $sql, array $values = []) use ($db) {
        $statement = $db->prepare($sql);
        $statement->execute($values);
        return $statement->fetchAll(PDO::FETCH_NUM);
    };
    same($one("SELECT miner, difficulty, block_hash FROM shares WHERE producer_seq = :n", ["n" => 7]), [["41", 1007, null]]);
    same($one("SELECT CAST(? AS int), CAST(? AS text), CAST(? AS timestamptz)", [7, "it's \\ ключ", "2026-03-01 12:00:00+01"]), [[7, "it's \\ ключ", "2026-03-01 11:00:00+00"]]);
    same($one("SELECT count(*) FROM shares WHERE outcome = ? AND event_time < ?", ["accepted", "2026-03-01T11:00:10Z"]), [[9]]);
    same($one("SELECT true, 1.5::float8, 12.50::numeric(10,2), DATE '2026-03-01'"), [[true, "1.5", "12.50", "2026-03-01"]]);
    $db->beginTransaction();
    $db->exec("SAVEPOINT one");
    fails("42P01", fn() => $db->query("SELECT 1 FROM nothing"));
    fails("25P02", fn() => $db->query("SELECT 1"));
    $db->exec("ROLLBACK TO SAVEPOINT one");
    same($one("SELECT 1"), [[1]]);
    $db->commit();
    fails("42501", fn() => $db->exec("DELETE FROM shares"));
    fails("22012", fn() => $db->query("SELECT 1 / 0")->fetchAll());
}
// Cursors move forward only.
fails("0A000", fn() => $db->prepare("SELECT 1", [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL])->execute());
same($db->getAttribute(PDO::ATTR_SERVER_VERSION), "16.6");
$copied = array_map("intval", $db->pgsqlCopyToArray("shares", "\t", "\\\\N", "producer_seq"));
sort($copied);
same($copied, range(0, 999), "COPY");
$db = null;

// ODBC: the same driver that spreadsheets and reporting tools use.
foreach (["UseDeclareFetch=0;UseServerSidePrepare=1", "UseDeclareFetch=1;Fetch=100;UseServerSidePrepare=0"] as $options) {
    $db = new PDO("odbc:Driver={PostgreSQL Unicode};Server=127.0.0.1;Port=$port;Database=headframe;$options", "reader", "");
    $statement = $db->prepare("SELECT miner, difficulty, event_time, block_hash FROM shares WHERE producer_seq = ?");
    $statement->execute([7]);
    same($statement->fetchAll(PDO::FETCH_NUM), [["41", "1007", "2026-03-01 11:00:07", null]], $options);
    $statement = $db->query("SELECT producer_seq FROM shares ORDER BY producer_seq");
    same(array_map("intval", $statement->fetchAll(PDO::FETCH_COLUMN)), range(0, 999), $options);
    fails("42P01", fn() => $db->query("SELECT 1 FROM nothing"));
    same($db->query("SELECT max(network_difficulty) FROM shares")->fetchColumn(), str_repeat("9", 38), $options);
    $db->beginTransaction();
    same($db->query("SELECT count(*) FROM shares WHERE event_time >= '2026-03-01 11:00:00'")->fetchColumn(), "1000", $options);
    $db->commit();
}
// Its lists of tables and columns, which only its own functions reach.
$odbc = odbc_connect("Driver={PostgreSQL Unicode};Server=127.0.0.1;Port=$port;Database=headframe", "reader", "");
$tables = odbc_tables($odbc, null, "public", "shares", "TABLE");
same([odbc_fetch_row($tables), odbc_result($tables, "TABLE_NAME"), odbc_fetch_row($tables)], [true, "shares", false]);
$columns = odbc_columns($odbc, null, "public", "shares", "difficulty");
same([odbc_fetch_row($columns), odbc_result($columns, "TYPE_NAME")], [true, "int8"]);
same(odbc_fetch_row(odbc_primarykeys($odbc, null, "public", "shares")), false);
same(odbc_fetch_row(odbc_statistics($odbc, null, "public", "shares", SQL_INDEX_ALL, SQL_QUICK)), false, "indexes");
same(odbc_fetch_row(odbc_gettypeinfo($odbc)), true);
odbc_close($odbc);
echo "all values agree\n";
