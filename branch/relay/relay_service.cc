#include "branch/relay/relay_service.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace branchline {

namespace asio = boost::asio;

struct RelayService::Leaf {
  uint64_t number;
  std::unique_ptr<Link> link;
  bool closed = false;
};

RelayService::RelayService(Runtime& runtime, Uplink& uplink, Clock& clock,
                           const std::string& server, const std::string& upstream)
    : runtime_(runtime),
      uplink_(uplink),
      clock_(clock),
      relay_(server, upstream, &uplink.budget()) {}

asio::awaitable<void> RelayService::run(TlsAcceptor& acceptor) {
  for (;;) {
    auto link = co_await acceptor.accept();
    if (!link || stopping_) co_return;
    auto leaf = std::make_shared<Leaf>(++last_leaf_, std::move(*link));
    leaves_[leaf->number] = leaf;
    spdlog::info("{} connects to this hub", leaf->link->peer());
    perform(relay_.on_connected(leaf->number, leaf->link->peer()));
    runtime_.tasks().spawn("link of " + leaf->link->peer(),
                           [this, leaf]() -> asio::awaitable<void> { co_await serve(leaf); });
  }
}

void RelayService::stop() {
  stopping_ = true;
  auto all = leaves_;
  for (auto& [number, leaf] : all) leaf->link->close();
}

asio::awaitable<void> RelayService::serve(std::shared_ptr<Leaf> leaf) {
  while (!leaf->closed) {
    auto frames = co_await leaf->link->read();
    if (!frames) {
      if (leaf->closed) break;
      if (frames.error().kind == ErrorKind::invalid && !stopping_) {
        perform(relay_.on_leaf_broken(leaf->number, frames.error()));
      } else {
        perform(relay_.on_leaf_gone(leaf->number));
      }
      spdlog::info("link of {} ended: {}", leaf->link->peer(), frames.error().message);
      break;
    }
    for (const auto& frame : *frames) {
      if (leaf->closed) break;
      perform(relay_.on_leaf(leaf->number, frame, clock_.steady_us(), clock_.wall_ms()));
    }
  }
  leaf->closed = true;
  leaves_.erase(leaf->number);
  leaf->link->close();
  co_await leaf->link->closed();
}

void RelayService::perform(RelayEffects effects) {
  for (auto& frame : effects.up) uplink_.send_shared(std::move(frame));
  for (auto& [number, frame] : effects.down) {
    auto at = leaves_.find(number);
    if (at == leaves_.end() || at->second->closed) continue;
    if (auto ok = at->second->link->send(std::move(frame)); !ok) at->second->link->close();
  }
  for (uint64_t number : effects.closed) {
    auto at = leaves_.find(number);
    if (at == leaves_.end()) continue;
    auto leaf = at->second;
    leaves_.erase(at);
    leaf->closed = true;
    leaf->link->close();  // after what is queued
  }
}

void RelayService::uplink_up(uint32_t channels) { perform(relay_.on_upstream_up(channels)); }

void RelayService::uplink_down(const Error& why) { perform(relay_.on_upstream_down(why)); }

Result<std::vector<Frame>> RelayService::uplink_frame(const Frame& frame) {
  RelayEffects effects = relay_.on_upstream(frame, clock_.steady_us(), clock_.wall_ms());
  if (effects.broken) return std::unexpected(*effects.broken);
  auto own = std::move(effects.own);
  perform(std::move(effects));
  return own;
}

void RelayService::uplink_tick() { perform(relay_.tick(clock_.steady_us(), clock_.wall_ms())); }

std::vector<LeafLinkStatus> RelayService::leaves() const {
  std::vector<LeafLinkStatus> out;
  for (const auto& [number, leaf] : leaves_) {
    LinkCounters c = leaf->link->counters();
    out.push_back({leaf->link->peer(), c.bytes_in, c.bytes_out, leaf->link->queued_bytes()});
  }
  return out;
}

}  // namespace branchline
