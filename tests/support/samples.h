// One of everything that the formats carry, with every field at a value of its own: what golden
// files, field tests and damage tests share. The same at every call; what they point to lives as
// long as the process.
#pragma once

#include "branch/replica/state.h"
#include "common/store/anchor.h"
#include "master/ingest/ingest.h"
#include "replication/session/greeting.h"
#include "replication/wire/feed_frame.h"

namespace branchline::samples {

// 32 bytes that count up from `first`.
Digest digest(uint8_t first);
// As RecordIdMaker lays them out: 2026-11-22T10:00:00.000Z, counter `n`, one node.
RecordId record_id(uint16_t n);
// In no such layout: every byte is `fill`.
RecordId raw_id(uint8_t fill);

// A valid value of each type, null included, in order of their numbers.
const std::vector<Value>& values();

MutationId mutation_id();
Version version();
// Of another server's mutation.
Version other_version();
SaltKey salt_key();

Mutation mutation();       // every field, every kind of operation
Mutation next_mutation();  // the one after it: bare, an update of one field; a keyed create follows
                           // in its ops
Mutation escrow_mutation();  // what servers do with shares
Commit commit();             // every field, every kind of effect
Commit next_commit();
Commit moving_commit();  // what moves and merges tell: relocate, redirect and an image
Record record();         // live, with a cell of each type, `also_in` and a pending reference
Record redirect();
Record api_token();   // as `token create` writes them
Record user();        // whose token it is
std::string token();  // the secret itself

std::vector<FateEntry> fates();  // the four fates, a run, outcomes, a clamped stamp
BatchHeader batch_header();
Ledger ledger();
Totals totals();
IncarnationInfo incarnation();
FeedRange feed_range();
LineCursor cursor();
Introduction introduction();
Registration registration();
SnapshotHead snapshot_head();
SnapshotEnd snapshot_end();
Anchor anchor();
OutboxBlock outbox_block();
PendingRef outbox_last();
ReplicaState replica_state();
SeedRow seed_row();
TrimState trim_state();
BranchProgress branch_progress();
KeyRow key_row();
MasterState master_state();
StreamState stream_state();
ProgramSeen program_seen();
OriginState plain_origin_state();  // as the version before this reads it
OriginState origin_state();
LineHistory line_history();
Reconciling reconciling();
ReplicaHistory replica_history();

std::string mutation_block();  // of mutation() and next_mutation()
std::string commit_block();    // of commit() and next_commit()
std::string commit_block(const std::vector<Commit>& commits);

}  // namespace branchline::samples
