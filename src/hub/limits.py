"""Every bound of the hub, with its unit and its reason."""

from __future__ import annotations

ALIAS_BYTES = 16
"""An alias is 128 random bits: nobody guesses one of 1.2e9 in use."""

PERSONS_MAX = 2**32 - 2
"""Persons are numbered in 32 bits; 0xFFFFFFFF means nobody."""

INSTITUTIONS_MAX = 65_535
"""Institution numbers, 1 to this; they fit 16 bits in a stored row."""

INSTITUTION_CODE_CHARS_MAX = 32

ROWS_PER_BATCH_MAX = 1 << 24
"""Rows of one call: 16.7 million keep the caller's columns and the answer under half a GiB."""

ROWS_PER_CHUNK = 65_536
"""Rows of one durable transaction of records: LMDB keeps a transaction's dirty pages in memory, and
between two chunks a waiting single inquiry is served (a chunk takes about 20 ms)."""

ROWS_PER_CHUNK_BESIDE = 16_384
"""The same of an inquiry that begins while small ones come: they wait a quarter as long. It costs a sync for every so
many rows (0.15 to 0.4 ms, beside 6 of work), and more steps of merging the history index: with 4,096 rows bulk was two
fifths as fast, 0.37 for 0.93 M rows/s. Beside it 4,000 single inquiries a second take p50 5 ms, p99 37 ms."""

ROWS_GATHERED_MAX = 1_024
"""Rows of a call that shares its commit with others; a larger one is worth a commit of its own."""

ROWS_PER_GROUP_MAX = 16_384
CALLS_PER_GROUP_MAX = 4_096
"""What one commit takes together: it holds the writer for about ten milliseconds."""

ROWS_WAITING_MAX = 1 << 20
CALLS_WAITING_MAX = 1 << 14
"""Calls that may wait for their commit, about half a second's; more are told to come again."""

FOLD_FROM = 1 << 17
"""Small requests of a day whose keys come together before they enter its index: 6 to 12 MB of memory, twice that while
they do. A million requests take 10,000 pages of index, so that each page written takes a dozen keys in."""

FILTER_BYTES_MAX = 256 << 20
"""What is kept in memory of the request ids of days that are over, two bytes an id: 130 million of them, beyond which
look-ups go to the pages of the days that have no place."""

FILTER_FROM = 4_096
"""Entries of a day from which it gets a filter: in a smaller one the look-up costs as little."""

FILTER_STEP = 50_000
"""Entries that enter a filter under one snapshot: some milliseconds, or where the disk has to be asked, 600 pages."""

FOLD_PER_CALL = 2
"""Keys that enter the index for each call of a group: more than one, or they would never be done."""

ROWS_PER_ACQUIRE_CHUNK = 12_582_912
"""Rows that one acquisition decides at once. Keys are random, so a chunk rewrites most blocks of its tables: few large
chunks write less than many small ones. Beside its columns a chunk of new persons takes 600 MB of memory."""

ROWS_PER_REISSUE_MAX = 65_536
"""Aliases that one call reissues or revokes: all of a call is one transaction."""

REISSUE_BYTES_MAX = 512 << 20
"""Rewritten blocks of that transaction, which LMDB holds in memory. Each alias may rewrite three blocks of 24 KB, so an
institution of more than 8 million takes fewer rows a call: of 60 million 7,281."""

DEATHS_PER_CALL_MAX = 65_536
"""Deaths of one call: sixteen days of a nation's. They are entered some thousands a transaction."""

TICKET_DAYS = 30
"""A ticket (取得番号) that was not used lapses after so many days: the register body delivers within days."""

IDENTIFIER_BYTES_MAX = 64
"""An identifier from outside: a certificate's serial has 20 bytes at most (RFC 5280), twice that in hex digits."""

IDENTIFIER_CHAIN_MAX = 1_000
"""Renewals of one identifier, one behind the other: monthly for a life; more are damage."""

CONSENTS_PER_PERSON_MAX = 200
"""Institutions and procedures of which one person withdraws a consent: more than any local government has affairs of
ordinances that ask for tax. A change reads them all."""

PROXIES_PER_PERSON_MAX = 16
"""Proxies of one person: parents, guardians, a few relatives. A list of them is one page; a grant reads them all."""

PRINCIPALS_PER_AGENT_MAX = 1_000
"""Persons for whom one may act: a professional guardian has some hundred."""

PROXY_LABEL_CHARS_MAX = 50
STATUTORY_PROXY_DAYS_MAX = 5_479
"""Days from today until a proxy by law is over: 15 years with four leap days, as long as a child born today has a
parent for it. Who acts by law for longer, an adult's guardian, is granted it anew: an appointment can end meanwhile."""
PROXY_VIEW_S = 900
"""A proxy's views within so many seconds after one that left a record leave no other: a person who reads page by page
is one view. Fifteen minutes is how long a portal keeps an idle session."""

CLAIM_BYTES_MAX = 1_024
"""Sealed attributes of one ticket: name, reading and address take 100 to 400 bytes, sealing 100, padding the rest."""

CLAIMS_PER_COMMIT = 16_384
"""Claims of one transaction, 16 MB at most: more are several."""

CLAIMS_LIMIT_MAX = 1 << 20
CLAIMS_LIMIT = 65_536
"""Claims of one call of the register body, at most and by default."""

LINKS_PER_CALL_MAX = 4_096
"""Links one call confirms or replaces, in one transaction that may rewrite three blocks of 24 KB for each: 300 MB.
A clerk looked at each of them."""

ITEMS_PER_INQUIRY_MAX = 64
SECTION_CHARS_MAX = 100
OPERATOR_CHARS_MAX = 100
CASE_CHARS_MAX = 100
REQUEST_ID_CHARS_MAX = 100

PAYLOAD_BYTES_MAX = 1 << 16
"""What a provider answers a row with, sealed: a resident's tax or certificate data as XML takes 2 to 20 KB, and 5,000
answers of one call stay under a third of a GiB."""

GROUND_CHARS_MAX = 200
FLAGS_PER_CALL_MAX = 4_096
"""Persons whom one call flags, in one transaction that holds the writer for 40 ms."""

REMARK_CHARS_MAX = 2_000
"""What a citizen or a clerk writes about a correction, appeal included: five pages, 6 KB of a record's fields."""

CORRECTION_DAYS = 90
"""Days after the day of disclosure on which a correction may be asked for (個人情報保護法90条3項)."""

CORRECTIONS_PER_RECORD_MAX = 100
"""Corrections of one record that are asked for, and that are made: their state is one value."""

CLASSES_FROM = 1 << 31
"""In a column of providers, numbers from here on are classes: this plus the class's own number of 31 bits."""

HOLDER_BLOCKS_PER_COMMIT = 1_024
"""Blocks of 256 persons that one transaction of holders rewrites, 4 to 12 MB: bounded memory, and the writer is held
for some ten milliseconds."""

HOLDER_BLOCKS_AT_A_TIME = 1_024
"""Blocks that one step of a look-up reads, 3 to 9 MB of facts."""

HOLDER_FACTS_MAX = 64
"""Facts of one person and class: who moves every year has that many in a life, and a block stays under 200 KB."""

WANTED_LIMIT_MAX = 10_000
"""Wanted aliases of one call: half a megabyte of codes."""

REQUEST_DAYS = 30
"""Request ids are kept this many days; afterwards the same id is a new request."""

RETENTION_YEARS = 7
"""Records are kept this long after the last one of their inquiry (Art. 23 of the Act, Art. 29 of its Order)."""

INQUIRY_OPEN_DAYS_MAX = 62
"""From an inquiry's first record to its last: its id may be sent again for 30 days (by whole days of UTC, so 31), and a
permit that its last chunk leaves waits no longer than as many again. A period expires so long after its seven years."""

PERMIT_DAYS = 7
"""A permit waits so many days for its provider's answer where the catalog says nothing else: a body that collects once
a working day has them all behind the longest holidays."""

PERMIT_DAYS_MAX = 28
"""No permit waits longer, whatever the catalog says: an answer is fetched by its request id, which is kept for 30 days.
Retention counts on it as well, see ``INQUIRY_OPEN_DAYS_MAX``."""

PROVIDERS_PER_PERSON_MAX = 3
"""Providers that a requester may ask about one person and item in a day where the catalog says nothing else: the
present municipality, the one of 1 January and one more. Asking everybody where a person is known is a search."""

FAN_OUT_PROVIDERS_MAX = 255
"""The most of them that the catalog may allow a procedure; it fits a byte."""

PAYLOAD_DAYS = 30
"""What a provider answered is kept so long unless it is fetched before: as long as the request id by which it is."""

PAYLOAD_BYTES_PER_COMMIT_MAX = 1 << 24
"""Payloads of one durable transaction of provisions; more are several."""

ARRIVAL_DAYS = PERMIT_DAYS_MAX
"""What was pushed waits so long to be taken: as long as any permit, and less than its payload is kept."""

UPDATE_ROWS_MAX = 4_096
"""Rows of one update: all of it is one transaction, whatever number of receivers each of them has, and the histories of
so many persons are read in some seconds."""

ARRIVED_ROWS_MAX = 1 << 16
ARRIVED_ROWS = 1 << 12
"""Arrivals of one call, at most and by default: with payloads of full length those take a quarter of a GiB."""

NOTICE_BYTES_MAX = 1 << 13
"""Text of a notice in UTF-8: 2,700 characters of Japanese, two printed pages."""

NOTICE_DAYS = 365
"""The text of a notice is kept so long: most are about a year's affairs (taxes, allowances), and the next year brings
the next one. Its record stays for seven years."""

NOTICE_ROWS_PER_VALUE = 1_024
NOTICE_BYTES_PER_VALUE = 1 << 18
"""Texts of one stored value, at most, where each person has one of their own: who reads one decrypts all of them."""

COLLECT_ROWS_MAX = 1 << 20
COLLECT_ROWS = 65_536
"""Permits of one collection, at most and by default: 40 bytes each."""

BEHIND_INBOXES_MAX = 1 << 23
"""Records of the log that a process reads to know how permits stand, about 200 MB; more are sorted in first."""

PROMPT_S = 2
"""An answer within so many seconds after the question leaves at once; who asks one automatic provider waits for it."""

ANSWERS_EVERY_S = 1
"""Any later answer, and each that a clerk decided, leaves at full multiples of so many seconds, so that its moment does
not tell whether a clerk or a machine that came late gave it; whoever runs a hub sets as many as its providers' machines
take to come round."""

RETAIN_AHEAD_DAYS_MAX = 31
"""A clock that is further ahead of the last record erases nothing unless a person confirms it: a hub at work records
every day, so it is more likely that the clock is wrong than that nobody asked for a month."""

RETAIN_PERIODS_MAX = 2
"""Periods that are erased at once without a person's confirmation: done every quarter or half-year there are no more,
and a wrong clock that has already left a record must not take years of records with it."""

HOLD_YEARS_MAX = 10
"""A legal hold ends at most this long after it is set or extended; one that is to last longer is looked at again."""

HOLD_GROUND_CHARS_MAX = 400
HOLD_BY_CHARS_MAX = 100

ASKED_BYTES_MAX = 1 << 29
"""Memory of the tables of who was asked today: at most 4 bytes a person of the hub for a list of items of a requester.
Beyond it the tables that were not used for longest leave, and are read from the log when they are needed."""

ASKED_LISTS_MAX = 256
"""Lists of items of one requester in a day that have a table: each is compared with those that share an item."""

LATELY_DAYS = 31
"""Days for which the deciding clerk sees how many bodies were asked about a person."""

LATELY_RECORDS_MAX = 2_048
"""Records about one person that are read for it, about 20 us each; who has more of them in those days gets MANY."""

HISTORY_LIMIT_MAX = 1_000
HISTORY_LIMIT = 100

MAP_BYTES = 1 << 42
"""The LMDB map is reserved once, sparse, so that it never has to be resized under a reader."""

SUB_DATABASES_MAX = 256

CHANGES_KEPT = 256
"""Commits whose list of changed blocks is kept for other processes; an older snapshot rebuilds its directories."""

DECISION_TABLES_MAX = 4_096
DECISION_TABLES_BYTES_MAX = 1 << 25
"""Compiled decision tables that a catalog keeps, whichever is less: one takes two bytes an institution, so 4,096
for the nation's 2,000 bodies (17 MB) and 256 where all institution numbers are used."""

CATALOG_BYTES_MAX = 1 << 26
"""A stored catalog, unpacked. The shipped one with all municipalities takes 1 MB: a larger one is damage, not law."""

CATALOG_FILE_BYTES_MAX = 1 << 26
"""One CSV file of the catalog; the whole Order takes half a megabyte."""

CATALOG_FIELD_CHARS_MAX = 400
"""One field of a catalog file; the longest shipped one has 153 characters."""

CATALOG_ERRORS_SHOWN = 10
"""Broken lines of one file that an error lists; the rest is counted."""

HISTORY_STEP_S = 0.01
"""Histories of a hub that has marks leave at multiples of so many seconds after they were asked for: a page of 100
takes 4 ms, and 2 ms more for each 100 withheld records that it passes over, which nobody may measure."""

WIRE_FRAME_BYTES_MAX = 1 << 20
"""One frame of the wire, its length field not counted: 52,000 rows of an inquiry; known before anything is kept."""

WIRE_PART_BYTES = 1 << 18
"""Of a long call or reply one frame carries so much: a short one waits for no more than a millisecond behind it."""

WIRE_CALL_BYTES_MAX = 1 << 29
"""The arguments of one call: 16.7 million rows of an inquiry take 336 MB."""

WIRE_REPLY_BYTES_MAX = 1 << 30
"""What a client takes as one reply."""

WIRE_REQUESTS_MAX = 256
"""Calls of one connection that are not answered yet; behind them the server reads no further."""

WIRE_UPLOAD_BYTES_PER_S_MIN = 1 << 12
"""As fast at least the parts of a long call must come: its bytes are held for it in the meantime."""

WIRE_ANSWERS_ROWS_MAX = 65_536
WIRE_ANSWERS_STEP_ROWS = 4_096
WIRE_ANSWERS_BYTES = 1 << 24
"""Rows and payload bytes of one reply with answers; the client asks for the next ones. A step of so many rows is read
at a time, whose payloads take 268 MB if all of them are as large as they may be."""

WIRE_COPY_ROWS = 1 << 20
"""Rows of one reply with an institution's copy, 20 to 34 bytes each; the client asks for the next ones."""

WIRE_LIST_MAX = 1 << 20
"""Words of a list that travels as such and not as a column."""

HTTP_HEAD_BYTES_MAX = 1 << 15
HTTP_HEADERS_MAX = 100
"""Request line and headers of an HTTP request; a certificate that a proxy passes on takes 2 to 9 KB of them."""

HTTP_JSON_BYTES_MAX = 1 << 24
"""A body in JSON, and a reply that becomes JSON: making one from the other holds everything else up for 15 ms. Aliases
of 700,000 rows fit; what is longer travels as MessagePack."""

HTTP_BODY_BYTES_PER_S_MIN = 1_024
"""So much of a body must come in every second, beside the time for one frame."""

HTTP_DISCARD_BYTES_MAX = 1 << 20
"""Of a body that nobody wants so much is read for the connection to go on; what has more behind it is cut."""

HTTP_PIPELINED_MAX = 8
"""Requests that a client sends without waiting; the head of one takes 2 KB."""

HTTP_IDLE_S = 75
"""How long a connection may be without a request: longer than the 60 s for which nginx keeps one, so that it is the
proxy who closes, never under a request that has just been sent."""

OWN_ID_BYTES_MAX = 64
"""An institution's own id of a person, in UTF-8; those in use have 10 to 15 characters."""

LOAD_CHUNK_BYTES_MAX = 1 << 27
"""One chunk of a load of a copy register: it is judged as a whole, and held in memory with what is made of it, about
four times as much."""

LOAD_ID_CHARS_MAX = 64

REGISTER_COLUMNS_MAX = 64
REGISTER_ITEMS_MAX = 15
"""Items of one register: a MessagePack map of up to 15 has a head of one byte."""

REGISTER_CELL_BYTES_MAX = 4_096
"""One cell of a copy register, in UTF-8."""

REGISTER_ITEM_BYTES_MAX = 16_384
"""What one row has of one item, encoded; its length fits 16 bits."""

REGISTER_ROW_BYTES_MAX = 65_536 - 1_024
"""What one row has of all items, encoded: with its head, sealed, it is a payload."""
