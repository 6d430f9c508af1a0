// Every limit of the system, in one place; how they relate is asserted here (docs/limits.md
// explains them).
#pragma once

#include <cstddef>
#include <cstdint>

namespace branchline::limits {

// Records and mutations.
inline constexpr size_t kMaxValueBytes = 1024 * 1024;         // one field value, one note
inline constexpr size_t kMaxMutationBytes = 2 * 1024 * 1024;  // canonical bytes of one mutation
inline constexpr size_t kMaxOperationsPerMutation =
    5000;  // record operations (an order with its lines)
inline constexpr size_t kMaxFieldsPerRecord = 1024;
inline constexpr size_t kMaxElementsPerField = 100'000;
inline constexpr size_t kMaxOperationKeyBytes = 255;
inline constexpr size_t kMaxEffectBytes =
    2560 * 1024;  // what one mutation may change, cascades and revivals included
inline constexpr size_t kMaxCascade = 10'000;  // records that one delete may take along
inline constexpr size_t kMaxHierarchyDepth = 32;
// Merges in a row (a into b, b into c) behind one id; more than that is a damaged store.
inline constexpr size_t kMaxRedirectHops = 100'000;
// What one move may take along: records, and the bytes of their images in all territories that they
// newly enter. A record's row goes in one piece.
inline constexpr size_t kMaxMovedRecords = 40'000;
inline constexpr size_t kMaxMoveBytes = 24 * 1024 * 1024;
inline constexpr size_t kArrivalPartBytes = 512 * 1024;  // images per stored block, about
inline constexpr size_t kMaxArrivalRowBytes = 4 * 1024 * 1024;
inline constexpr size_t kMaxMoveHistory = 16;  // territories that a record remembers to have left

// Blocks and frames.
inline constexpr size_t kMaxBlockMutations = 512;             // per shipped or stored block
inline constexpr size_t kMaxBlockBytes = 4 * 1024 * 1024;     // decompressed
inline constexpr size_t kMaxBlockCells = kMaxBlockBytes / 4;  // each has 4 canonical bytes
inline constexpr size_t kTargetBlockBytes = 256 * 1024;  // a shipper closes a block beyond this
inline constexpr size_t kMaxBatchEffectBytes =
    1024 * 1024;  // effects beyond this wait for the next batch of the line
inline constexpr size_t kMaxFrameBytes = 6 * 1024 * 1024;  // on the wire
inline constexpr size_t kTargetFeedFrameBytes = 256 * 1024;
inline constexpr size_t kMaxFeedRangeBytes =
    64 * 1024 * 1024;  // parts of one range, held until complete
inline constexpr size_t kSnapshotChunkBytes = 256 * 1024;

// Flow control: what may be under way and not yet acknowledged.
inline constexpr size_t kUplinkWindowBytes = 512 * 1024;
inline constexpr size_t kFeedWindowBytes = 512 * 1024;
inline constexpr size_t kSnapshotWindowBytes = 1024 * 1024;

// Connections of the link.
inline constexpr size_t kMaxLinkQueueBytes = 36 * 1024 * 1024;  // frames that wait to be sent
inline constexpr size_t kLinkWriteBytes = 64 * 1024;            // gathered into one write
inline constexpr int kLinkSendBufferBytes =
    256 * 1024;                               // the kernel's: what cannot be counted or dropped
inline constexpr size_t kMaxChannels = 256;   // sessions beneath a hub, on its link
inline constexpr size_t kMaxHubsBetween = 8;  // a branch and the master
inline constexpr size_t kBlockWindowBytes = 16 * 1024 * 1024;  // of a hub's link, at the hub
inline constexpr size_t kMaxTrunkQueueBytes = 1024 * 1024;     // beyond it a shared link is full
inline constexpr size_t kMaxHandshakes = 64;                   // at a time

// Look-ups: what an office asks its upstream for while somebody waits.
inline constexpr size_t kMaxLookupsUnderWay =
    4;  // per link: so many answers may lie before the feed
inline constexpr size_t kMaxLookupsWaiting = 256;  // at an office, for their turn
inline constexpr size_t kMaxLookupAnswerBytes =
    256 * 1024;  // compressed: no more than a feed frame
inline constexpr size_t kMaxLookupRowBytes = 4 * 1024 * 1024;  // of one answer, decompressed
inline constexpr size_t kMaxLookupRecords = 5000;
inline constexpr size_t kMaxLookupTokenBytes = 1024;
inline constexpr size_t kMaxLookupParts = 64;           // lookups, and collections, that come along
inline constexpr size_t kMaxSessionStreams = 64;        // of a roaming token
inline constexpr size_t kMaxCommittedPending = 10'000;  // mutations that a committed read puts back

// Files instead of a line: sealed part by part, so that neither end holds more than one of them.
inline constexpr size_t kTargetFilePartBytes = 512 * 1024;  // a part is closed beyond this
inline constexpr size_t kMaxFilePartBytes =
    40 * 1024 * 1024;                                  // one batch of the line may be so much
inline constexpr size_t kFilePieceBytes = 768 * 1024;  // of a part, per request
inline constexpr size_t kMaxFileBatches = 20'000;      // of the line, read for one part

// Local commit groups.
inline constexpr size_t kMaxGroupMutations = 256;
inline constexpr size_t kTargetGroupBytes = 1024 * 1024;  // a group takes nothing more beyond this

// What branches keep of decided mutations, to offer them again to a restored master.
inline constexpr int64_t kRestoreWindowMs = 35ll * 86'400'000;  // unless the topology says another
inline constexpr uint64_t kMaxKeptBytes = 1024ull * 1024 * 1024;  // the oldest go first beyond this
inline constexpr size_t kKeptStepBytes = 4 * 1024 * 1024;         // taken back in one batch

// HTTP.
inline constexpr size_t kMaxHttpHeaderBytes = 32 * 1024;
inline constexpr size_t kMaxHttpBodyBytes = 1024 * 1024;
inline constexpr size_t kMaxHttpConnections = 1000;
inline constexpr size_t kMaxPageSize = 5000;
inline constexpr size_t kMaxFilterDepth = 64;
inline constexpr size_t kMaxFilterTerms = 512;
inline constexpr size_t kMaxExpandedRows = 5000;
inline constexpr size_t kMaxGroups = 50'000;       // rows that one $apply may return
inline constexpr size_t kMaxSortedRows = 200'000;  // rows that one $orderby may hold in memory
inline constexpr size_t kMaxSortedBytes = 128 * 1024 * 1024;  // and their bytes
inline constexpr size_t kMaxPageBytes =
    8 * 1024 * 1024;  // records of one page: it ends early beyond this
inline constexpr size_t kMaxAnswerBytes = 64 * 1024 * 1024;  // with everything expanded

// The topology file. The last two are the lengths of the fields that carry it
// (common/schema/crm.yaml; a test compares them): a file that passes the check can be committed.
inline constexpr size_t kMaxTopologyBytes = 1024 * 1024;
inline constexpr size_t kMaxTopologyDepth = 8;  // lists and maps within one another
inline constexpr size_t kMaxTopologyEntries =
    1000;  // of each list: sites, territories, links, servers
inline constexpr size_t kMaxTopologyMistakes = 100;     // told at once
inline constexpr size_t kMaxSubscriptionText = 10'000;  // names of one branch's territories
inline constexpr size_t kMaxTopologyText = 200'000;     // canonical form

// Clocks.
inline constexpr int64_t kMaxClockAheadMs = 5 * 60 * 1000;

static_assert(kMaxMutationBytes >= 2 * kMaxValueBytes);
static_assert(kMaxBlockBytes >= kMaxMutationBytes + kTargetBlockBytes);
static_assert(kMaxFrameBytes >= kMaxBlockBytes);
static_assert(kMaxLookupAnswerBytes <= kTargetFeedFrameBytes);
static_assert(kMaxExpandedRows <= kMaxLookupRecords);
// A batch's effects, with what the last mutation of it overwrote, travel in one frame.
static_assert(kMaxFrameBytes >= kMaxBatchEffectBytes + kMaxEffectBytes + kMaxMutationBytes);
static_assert(kMaxEffectBytes > kMaxMutationBytes);
static_assert(kUplinkWindowBytes >= 2 * kTargetBlockBytes);
static_assert(kMaxLinkQueueBytes >=
              kMaxMoveBytes + kMaxFrameBytes + kFeedWindowBytes + kSnapshotWindowBytes);
// The images of one move come in one range, however badly they compress.
static_assert(kMaxFeedRangeBytes >= kMaxMoveBytes + kMaxFrameBytes);
static_assert(kArrivalPartBytes + kMaxValueBytes + kMaxArrivalRowBytes <= kMaxFrameBytes);
// A block is shipped of whole groups: the last one may be as large as a group with one more
// mutation. An eighth of the room is for what columns cost beside the canonical bytes.
static_assert(kTargetBlockBytes + kTargetGroupBytes + kMaxMutationBytes <=
              kMaxBlockBytes - kMaxBlockBytes / 8);
static_assert(kMaxBlockCells * 4 >= kTargetBlockBytes + kTargetGroupBytes + kMaxMutationBytes);
static_assert(kMaxHttpBodyBytes < kMaxMutationBytes);
// The images of one move are one range, and a range is in one part.
static_assert(kMaxFilePartBytes >=
              kMaxMoveBytes + kMaxFrameBytes + kTargetFilePartBytes + 1024 * 1024);
static_assert(kFilePieceBytes <= kMaxHttpBodyBytes);
// A page holds at least one record, whatever its size.
static_assert(kMaxAnswerBytes >= 4 * kMaxPageBytes);
static_assert(kMaxPageBytes >= 4 * kMaxMutationBytes);
static_assert(kMaxTopologyText <= kMaxValueBytes);
// `territories: all` names every territory at every server: what that expands to has a bound as
// well.
static_assert(kMaxTopologyEntries * kMaxSubscriptionText <= 16 * 1024 * 1024);

}  // namespace branchline::limits
