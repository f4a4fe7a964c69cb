# Perl's DBI with DBD::Pg: placeholders, types, arrays, transactions and savepoints, COPY, lists of tables and columns, cancel.
# The test starts it as `perl dbi.pl PORT`.
use strict;
use warnings;
use utf8;
use DBI qw(:sql_types);
use DBD::Pg qw(:pg_types :async);

my $target = "dbi:Pg:host=127.0.0.1;port=$ARGV[0];dbname=headframe";
my $db = DBI->connect($target, "reader", "", {RaiseError => 1, PrintError => 0, AutoCommit => 1});

sub flat { return join("|", map { ref $_ ? "[" . flat(@$_) . "]" : $_ // "-" } @_) }
binmode STDERR, ":utf8";
sub same {
    my ($got, $expected, $about) = @_;
    die(($about // "value") . ": $got is not $expected\n") if $got ne $expected;
}
sub row { return flat($db->selectrow_array(shift, undef, @_)) }
sub fails {
    my ($state, $action) = @_;
    eval { $action->(); 1 } and die "no error came\n";
    same($DBI::state, $state, $@);
}

same(row("SELECT count(*), sum(difficulty)::bigint, max(network_difficulty) FROM shares"), "1000|1499500|" . "9" x 38);
same(row("SELECT ?::int, ?::text, ?::numeric(10,2), ?::bool, ?::float8, ?::date, ?::text", 7, "it's ключ", "12.50", 1, -1.5, "2026-03-01", undef),
    "7|it's ключ|12.50|1|-1.5|2026-03-01|-");
same(row("SELECT miner, difficulty, event_time, block_hash FROM shares WHERE producer_seq = ?", 7), "41|1007|2026-03-01 11:00:07+00|-");
same(row("SELECT count(*) FROM shares WHERE miner = ANY(?)", ["40", "41"]), "667");
same(row("SELECT ARRAY[1, NULL, 3], ARRAY['a,b', 'c\"']"), "[1|-|3]|[a,b|c\"]");
my $bytes = $db->prepare("SELECT ?::bytea, ?::timestamptz");
$bytes->bind_param(1, "\x00\xff'\\", {pg_type => PG_BYTEA});
$bytes->bind_param(2, "2026-03-01T12:00:00+01:00");
$bytes->execute;
same(flat($bytes->fetchrow_array), "\x00\xff'\\|2026-03-01 11:00:00+00");
$bytes->finish;

# A statement that the server prepares, run more than once.
my $by_number = $db->prepare("SELECT difficulty FROM shares WHERE producer_seq = \$1");
for my $n (0 .. 3) {
    $by_number->execute($n);
    same($by_number->fetchrow_arrayref->[0], 1000 + $n);
    $by_number->finish;
}
same(flat(@{$by_number->{NAME}}, @{$by_number->{TYPE}}), "difficulty|" . SQL_BIGINT);

# Transactions, whose failed statement is forgotten by a savepoint.
$db->begin_work;
$db->pg_savepoint("one");
fails("42P01", sub { $db->do("SELECT 1 FROM nothing") });
fails("25P02", sub { $db->do("SELECT 1") });
$db->pg_rollback_to("one");
same(row("SELECT 1"), "1");
$db->do("DECLARE few CURSOR FOR SELECT producer_seq FROM shares ORDER BY producer_seq");
same(flat(map { $_->[0] } @{$db->selectall_arrayref("FETCH 3 FROM few")}), "0|1|2");
same(flat(map { $_->[0] } @{$db->selectall_arrayref("FETCH 2 FROM few")}), "3|4");
$db->rollback;
fails("42501", sub { $db->do("DELETE FROM shares") });
fails("22012", sub { $db->selectrow_array("SELECT 1 / 0") });
fails("22P02", sub { $db->selectrow_array("SELECT 'x'::int") });

$db->do("SET application_name = 'perl'");
same(row("SHOW application_name"), "perl");
$db->do("COPY (SELECT producer_seq, miner FROM shares ORDER BY 1 LIMIT 2) TO STDOUT");
my ($line, @lines);
push @lines, $line while $db->pg_getcopydata($line) >= 0;
same(join("", @lines), "0\t40\n1\t41\n");

# What tools ask a driver for.
same(flat($db->tables(undef, "public", "shares", "TABLE")), "public.shares");
my $columns = $db->column_info(undef, "public", "shares", "%")->fetchall_arrayref({});
same(flat(map { $_->{COLUMN_NAME} } @$columns[0, 5, 6]), "event_time|difficulty|network_difficulty");
same(flat(map { "$_->{TYPE_NAME} $_->{NULLABLE}" } @$columns[0, 5, 8]), "timestamp with time zone 0|bigint 0|text 1");
same(scalar(() = $db->primary_key(undef, "public", "shares")), 0);
die "no version\n" unless $db->{pg_server_version} >= 160000;
same($db->ping, 1, "ping");

# A statement that is cancelled by its own session.
my $endless = $db->prepare("SELECT count(*) FROM generate_series(1, 100000000000)", {pg_async => PG_ASYNC});
$endless->execute;
$db->pg_cancel;
same(row("SELECT 1"), "1", "after a cancel");
$db->do("SET statement_timeout = 200");
fails("57014", sub { $db->selectrow_array("SELECT count(*) FROM generate_series(1, 100000000000)") });
$db->disconnect;
print "all values agree\n";
