#include "replication/merge/effects.h"

#include "common/base/probe.h"
#include "replication/merge/arrival.h"

namespace branchline {
namespace {

Error diverged(const RecordKey& key, const char* what) {
  return {ErrorKind::corrupt, "effects.diverged",
          "record " + to_string(key.id) + " of entity " + std::to_string(key.entity.value) + " " +
              what};
}

Result<void> put_cells(Workspace& ws, Record& record, const RecordOp& op, const Version& version) {
  for (const auto& cell : op.cells) {
    switch (cell.kind) {
      case CellOpKind::put:
        ws.set_cell(record, cell.field, version, cell.value);
        break;
      case CellOpKind::put_element:
        BL_TRY(ws.put_element(record, cell.field, cell.key, Element::make(version, cell.value)));
        break;
      case CellOpKind::remove_element:
        BL_TRY(ws.remove_element(record, cell.field, cell.key));
        break;
      default:
        return std::unexpected(diverged(op.record, "has an operation among its effects"));
    }
  }
  return {};
}

Result<void> redirect(Workspace& ws, Record& record, const RecordOp& op, const Version& version) {
  if (op.target.is_nil()) {
    for (const auto& cell : op.cells) {
      if (cell.kind != CellOpKind::put || !record.find(cell.field))
        return std::unexpected(diverged(op.record, "lacks the lookup that follows a merge"));
      ws.follow(record, cell.field, cell.value);
    }
    return {};
  }
  RecordKey target{op.record.entity, op.target};
  // Told by the block of another of its territories.
  if (record.state() == RecordState::redirect && record.target() == op.target) return {};
  BL_ASSIGN(auto survivor, ws.find(target));
  // Of a merge across territories, and the survivor's image comes behind this.
  if (survivor.held == Held::not_held) {
    BL_PROBE("apply.merged_away");
    return ws.redirect_away(record, op.target, version);
  }
  if (!survivor.record || survivor.record == &record)
    return std::unexpected(diverged(target, "survives a merge but is not here"));
  std::vector<FieldId> taken;
  for (const auto& cell : op.cells) taken.push_back(cell.field);
  return ws.redirect(record, *survivor.record, taken, version);
}

}  // namespace

Result<void> apply_effects(Workspace& ws, const std::vector<RecordOp>& effects,
                           const Version& version) {
  for (const auto& op : effects) {
    BL_ASSIGN(auto found, ws.find(op.record));
    if (op.kind == RecordOpKind::arrive) {
      BL_TRY(apply_arrival(ws, op));
      continue;
    }
    if (op.kind == RecordOpKind::put_new) {
      if (found.record) return std::unexpected(diverged(op.record, "is created but exists here"));
      Record& record = ws.create(op.record, op.territory, op.also_in, version);
      BL_TRY(put_cells(ws, record, op, version));
      continue;
    }
    if (!found.record) return std::unexpected(diverged(op.record, "is changed but is not here"));
    switch (op.kind) {
      case RecordOpKind::put_cells:
        BL_TRY(put_cells(ws, *found.record, op, version));
        break;
      case RecordOpKind::tombstone:
        BL_TRY(ws.set_state(*found.record, RecordState::tombstone, version));
        break;
      case RecordOpKind::revive:
        BL_TRY(ws.set_state(*found.record, RecordState::live, version));
        break;
      case RecordOpKind::redirect:
        BL_TRY(redirect(ws, *found.record, op, version));
        break;
      case RecordOpKind::relocate:
        BL_TRY(ws.set_territories(*found.record, op.territory, op.also_in));
        break;
      default:
        return std::unexpected(diverged(op.record, "has an effect of an unknown kind"));
    }
  }
  return {};
}

void put_forecast(std::string& out, Hlc hlc, const std::vector<RecordOp>& effects) {
  Writer w(out);
  w.fixed64(hlc.value);
  w.varint(effects.size());
  for (const auto& op : effects) put_record_op(w, op);
}

size_t effect_bytes(const std::vector<RecordOp>& effects) {
  constexpr size_t kPerRecord = 48, kPerCell = 24;  // ids, versions, lengths
  size_t bytes = 0;
  for (const auto& op : effects) {
    bytes += kPerRecord + op.image.size() + 4 * op.also_in.size();
    for (const auto& cell : op.cells) bytes += kPerCell + cell.value.payload.size();
  }
  return bytes;
}

}  // namespace branchline
