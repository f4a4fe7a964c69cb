# Ruby's pg: parameters in text and binary, types, rows one by one, transactions, pipelines, COPY, notices, cancel.
# The test starts it as `ruby ruby_pg.rb PORT`.
require "pg"
require "bigdecimal"

START = Time.utc(2026, 3, 1, 11)
ENDLESS = "SELECT count(*) FROM generate_series(1, 100000000000)"

def same(got, expected, about = "value")
  abort "#{about}: #{got.inspect} is not #{expected.inspect}" unless got == expected
end

def fails(kind)
  yield
  abort "no error came"
rescue kind => error
  error
end

db = PG.connect(host: "127.0.0.1", port: ARGV[0], user: "reader", dbname: "headframe")
same(db.exec("SELECT count(*), sum(difficulty)::bigint FROM shares").values, [["1000", "1499500"]])
same(db.exec_params("SELECT $1::int + 1, $2::text, $3::numeric(10,2), $4::text", [7, "it's ключ", "12.50", nil]).values, [["8", "it's ключ", "12.50", nil]])
binary = [{ value: [7].pack("q>"), type: 20, format: 1 }, { value: "\x00\xFF".b, type: 17, format: 1 }]
found = db.exec_params("SELECT $1 AS n, $2 AS b", binary, 1)
same(found.values, [[[7].pack("q>"), "\x00\xFF".b]])
same([found.fields, found.ftype(0), found.ftype(1)], [%w[n b], 20, 17])

# Values as Ruby's own, by the types that the server lists.
db.type_map_for_results = PG::BasicTypeMapForResults.new(db)
db.type_map_for_queries = PG::BasicTypeMapForQueries.new(db)
row = db.exec_params("SELECT producer_seq, miner, event_time, network_difficulty, block_hash, outcome = 'accepted' AS ok, 1.5::float8 AS f, " \
                     "DATE '2026-03-01' AS day, ARRAY[1, 2] AS list FROM shares WHERE producer_seq = $1", [7])[0]
same(row.values, [7, "41", START + 7, BigDecimal("9" * 38), nil, true, 1.5, Date.new(2026, 3, 1), [1, 2]])
same(db.exec_params("SELECT count(*) FROM shares WHERE miner = ANY($1)", [%w[40 41]]).getvalue(0, 0), 667)
same(db.exec_params("SELECT count(*) FROM shares WHERE event_time < $1", [START + 5]).getvalue(0, 0), 5)

db.prepare("by number", "SELECT difficulty FROM shares WHERE producer_seq = $1")
same((0..3).map { |n| db.exec_prepared("by number", [n]).getvalue(0, 0) }, [1000, 1001, 1002, 1003])
same(db.describe_prepared("by number").fields, ["difficulty"])
db.exec('DEALLOCATE "by number"')
same(fails(PG::InvalidSqlStatementName) { db.exec_prepared("by number", [1]) }.result.error_field(PG::PG_DIAG_SQLSTATE), "26000")

# Rows one by one, and several statements in one text.
db.send_query("SELECT producer_seq FROM shares ORDER BY producer_seq")
db.set_single_row_mode
same(db.get_result.stream_each_row.map(&:first), (0...1000).to_a)
db.get_result
db.send_query("SELECT 1 AS a; SELECT 2 AS b")
same(2.times.map { db.get_result.to_a }, [[{ "a" => 1 }], [{ "b" => 2 }]])
db.get_result

# A pipeline, in which what fails takes along what is before the next synchronisation.
db.enter_pipeline_mode
db.send_query_params("SELECT 1 AS n", [])
db.pipeline_sync
db.send_query_params("SELECT 1 FROM nothing", [])
db.send_query_params("SELECT 2 AS n", [])
db.pipeline_sync
states = Array.new(9) { db.get_result&.result_status }
same(states.compact, [PG::PGRES_TUPLES_OK, PG::PGRES_PIPELINE_SYNC, PG::PGRES_FATAL_ERROR, PG::PGRES_PIPELINE_ABORTED, PG::PGRES_PIPELINE_SYNC])
db.exit_pipeline_mode

db.transaction do |inner|
  inner.exec("SAVEPOINT one")
  fails(PG::UndefinedTable) { inner.exec("SELECT 1 FROM nothing") }
  same(inner.transaction_status, PG::PQTRANS_INERROR)
  inner.exec("ROLLBACK TO SAVEPOINT one")
  same(inner.transaction_status, PG::PQTRANS_INTRANS)
end
same(db.transaction_status, PG::PQTRANS_IDLE)
fails(PG::InsufficientPrivilege) { db.exec("DELETE FROM shares") }
fails(PG::UndefinedColumn) { db.exec("SELECT nothing FROM shares") }
fails(PG::SyntaxError) { db.exec("SELEC 1") }

copied = []
db.copy_data("COPY (SELECT producer_seq, miner FROM shares ORDER BY 1 LIMIT 2) TO STDOUT CSV") do
  while (line = db.get_copy_data)
    copied << line
  end
end
same(copied, ["0,40\n", "1,41\n"])

db.set_client_encoding("UTF8")
same([db.get_client_encoding, db.parameter_status("server_version"), db.parameter_status("integer_datetimes")], ["UTF8", "16.6", "on"])
db.send_query(ENDLESS)
sleep 0.3
same(db.cancel, nil)
fails(PG::QueryCanceled) { db.get_last_result }
same(db.exec("SELECT 1").values, [[1]])
db.reset
same(db.exec("SELECT 1").values, [[1]])
db.close
puts "all values agree"
