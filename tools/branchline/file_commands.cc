// Files instead of a line: `branchline export` and `branchline import FILE`.
#include "tools/branchline/file_commands.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/base/bytes.h"
#include "common/base/limits.h"
#include "common/base/random.h"
#include "common/json/json_writer.h"
#include "replication/courier/file_part.h"
#include "tools/branchline/cluster.h"

namespace branchline {
namespace {

constexpr int64_t kPatienceMs = 300'000;  // a part may be much work for a small machine

struct ExportOptions {
  std::string at, to, file, certificate;
  std::optional<uint64_t> from;
  bool replace = false;
};

Error wrong(std::string message) { return {ErrorKind::invalid, "use", std::move(message)}; }

// Written beside its name, and moved there when it is whole.
class NewFile {
 public:
  ~NewFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  Result<void> open(const std::string& name, bool replace) {
    name_ = name;
    std::error_code ignored;
    if (!replace && std::filesystem::exists(name, ignored))
      return std::unexpected(wrong(name + ": exists and is kept; --replace replaces it"));
    temporary_ = name + "." + hex(SystemRandom().bytes(4)) + ".tmp";
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd_ >= 0) return {};
    temporary_.clear();
    return failed();
  }
  Result<void> write(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed();
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return {};
  }
  Result<void> finish() {
    if (::fsync(fd_) != 0 || ::rename(temporary_.c_str(), name_.c_str()) != 0) return failed();
    temporary_.clear();
    std::filesystem::path folder = std::filesystem::path(name_).parent_path();
    int at = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = at >= 0 && ::fsync(at) == 0;
    if (at >= 0) ::close(at);
    return synced ? Result<void>{} : failed();
  }

 private:
  Result<void> failed() const {
    return fail(ErrorKind::corrupt, "file.write",
                name_ + ": cannot be written: " + std::strerror(errno));
  }
  std::string name_, temporary_;
  int fd_ = -1;
};

Result<std::string> read_small_file(const std::string& name) {
  std::ifstream in(name, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in || text.str().empty())
    return std::unexpected(wrong(name + ": cannot be read, or is empty"));
  return std::move(text).str();
}

// A server's refusal as an error of the command line.
Result<ClientResponse> ask(HttpClient& client, const std::string& target, const std::string& body) {
  HttpClient::Headers headers;
  if (!body.empty()) headers.emplace_back("Content-Type", "application/octet-stream");
  BL_ASSIGN(ClientResponse response, client.request("POST", target, body, headers));
  if (response.status < 300) return response;
  bool denied = response.status == 401 || error_code(response).starts_with("token.") ||
                error_code(response) == "access.operator";
  return fail(denied ? ErrorKind::denied : ErrorKind::corrupt, error_code(response),
              denied && error_code(response) == "token.missing"
                  ? "no token was given: use --token TOKEN, or set $BRANCHLINE_TOKEN"
                  : error_text(response));
}

Error no_such_server(const CommandContext& context, const std::string& server) {
  return wrong("there is no server `" + server + "` in " + context.topology +
               "; `branchline topology check` names them");
}

Result<HttpClient> client_of(const CommandContext& context, const Topology& topology,
                             const std::string& server) {
  const ServerSpec* spec = topology.server(server);
  if (!spec) return std::unexpected(no_such_server(context, server));
  HttpClient client(spec->admin.to_string());
  client.set_token(context.token);
  client.set_timeout_ms(kPatienceMs);
  return client;
}

Result<int> do_export(const CommandContext& context, const ExportOptions& o) {
  if (o.at.empty() == o.to.empty()) {
    return std::unexpected(wrong(
        "either --at OFFICE (what is pending there) or --for OFFICE (its feed) must be said"));
  }
  if (o.from && o.to.empty()) return std::unexpected(wrong("--from goes with --for"));
  BL_ASSIGN(Topology topology, load_topology(context.topology));
  const ServerSpec* office = topology.server(o.at.empty() ? o.to : o.at);
  if (office && office->kind == ServerKind::master)
    return std::unexpected(wrong("`" + office->name + "` is the master; name a branch"));
  if (!office) return std::unexpected(no_such_server(context, o.at.empty() ? o.to : o.at));
  // Files go past the hubs: the other end is the master.
  const std::string& master = topology.master().name;
  BL_ASSIGN(HttpClient client, client_of(context, topology, o.at.empty() ? master : o.at));
  std::string certificate;
  if (!o.certificate.empty()) {
    BL_ASSIGN(certificate, read_small_file(o.certificate));
  }
  std::string base = "/admin/export";
  if (!o.to.empty()) base += "?server=" + o.to;
  std::string target = base;
  if (o.from) target += "&from=" + std::to_string(*o.from);
  NewFile file;
  BL_TRY(file.open(o.file, o.replace));
  BL_TRY(file.write(file_begin()));
  uint64_t parts = 0, mutations = 0, bytes = 0;
  std::string begin, end;
  for (;;) {
    BL_ASSIGN(ClientResponse part, ask(client, target, certificate));
    BL_TRY(file.write(part.body));
    bytes += part.body.size();
    ++parts;
    mutations += std::strtoull(part.header("Branchline-Mutations").c_str(), nullptr, 10);
    if (begin.empty()) begin = part.header("Branchline-Begin");
    end = part.header("Branchline-End");
    std::string next = part.header("Branchline-Next");
    if (next.empty()) break;
    target = base + (o.to.empty() ? "?" : "&") + "token=" + next;
  }
  BL_TRY(file.write(std::string_view(&kFileEnd, 1)));
  BL_TRY(file.finish());
  if (context.json) {
    std::string out;
    JsonWriter w(out);
    w.begin_object().member("file", o.file).member("kind", o.to.empty() ? "pending" : "feed");
    w.member("parts", parts).member("bytes", bytes);
    if (o.to.empty()) w.member("mutations", mutations);
    if (!begin.empty()) w.member("begin", uint64_t{std::strtoull(begin.c_str(), nullptr, 10)});
    w.member("csn", uint64_t{std::strtoull(end.c_str(), nullptr, 10)}).end_object();
    std::printf("%s\n", out.c_str());
  } else if (o.to.empty()) {
    std::printf("%s: %llu changes that wait at %s, for %s; import it there: branchline import %s\n",
                o.file.c_str(), static_cast<unsigned long long>(mutations), o.at.c_str(),
                master.c_str(), o.file.c_str());
  } else {
    std::printf(
        "%s: the main line for %s from csn %s to %s; import it there: branchline import %s\n",
        o.file.c_str(), o.to.c_str(), begin.c_str(), end.c_str(), o.file.c_str());
  }
  return 0;
}

// --- Import ---

// A file's parts, one after another.
class PartReader {
 public:
  Result<void> open(const std::string& name) {
    in_.open(name, std::ios::binary);
    if (!in_ || std::filesystem::is_directory(name))
      return std::unexpected(wrong("cannot be read"));
    std::string begin(kFileBeginBytes, '\0');
    in_.read(begin.data(), static_cast<std::streamsize>(begin.size()));
    begin.resize(static_cast<size_t>(in_.gcount()));
    return check_file_begin(begin);
  }
  // Nothing at the end of a whole file.
  Result<std::optional<std::string>> next() {
    std::string bytes(10, '\0');
    auto place = in_.tellg();
    in_.read(bytes.data(), 10);
    bytes.resize(static_cast<size_t>(std::max<std::streamsize>(in_.gcount(), 0)));
    in_.clear();
    BL_ASSIGN(size_t size, framed_size(bytes));
    if (size == 0) {
      if (bytes.size() == 1) return std::optional<std::string>();
      return fail(ErrorKind::corrupt, "file.damaged",
                  "the file goes on behind its end: it is damaged; copy or export it again");
    }
    in_.seekg(place);
    bytes.resize(size);
    in_.read(bytes.data(), static_cast<std::streamsize>(size));
    bytes.resize(static_cast<size_t>(in_.gcount()));
    in_.clear();
    return std::optional(std::move(bytes));
  }

 private:
  std::ifstream in_;
};

struct Contents {
  FileKind kind = FileKind::pending;
  std::string from, to;
  uint64_t parts = 0;
};

// The whole file before the first of it is sent: what is damaged is told at once.
Result<Contents> look_through(const std::string& name) {
  PartReader reader;
  BL_TRY(reader.open(name));
  Contents out;
  for (;;) {
    BL_ASSIGN(auto bytes, reader.next());
    if (!bytes) break;
    BL_ASSIGN(SealedPart part, read_sealed_part(*bytes));
    if (out.parts++ == 0) {
      out.kind = part.kind;
      out.from = part.from;
      out.to = part.to;
    } else if (part.kind != out.kind || part.from != out.from || part.to != out.to) {
      return fail(ErrorKind::corrupt, "file.mixed", "the parts of the file are of several files");
    }
  }
  if (out.parts == 0)
    return fail(ErrorKind::corrupt, "file.truncated", "there is nothing in the file");
  return out;
}

Result<Json> send_part(HttpClient& client, const std::string& bytes) {
  std::string upload = hex(SystemRandom().bytes(8));
  for (size_t at = 0;; at += limits::kFilePieceBytes) {
    std::string target = "/admin/import?upload=" + upload + "&at=" + std::to_string(at) +
                         "&size=" + std::to_string(bytes.size());
    BL_ASSIGN(ClientResponse response,
              ask(client, target, bytes.substr(at, limits::kFilePieceBytes)));
    if (at + limits::kFilePieceBytes >= bytes.size()) return parse_json(response.body, 32);
  }
}

constexpr const char* kCounts[] = {"new",    "known",      "decided", "applied",
                                   "merged", "overridden", "rejected"};

Result<int> do_import(const CommandContext& context, const FileImport& o) {
  auto named = [&](Error e) {
    e.message = o.file + ": " + e.message;
    return std::unexpected(std::move(e));
  };
  auto contents = look_through(o.file);
  if (!contents) return named(contents.error());
  BL_ASSIGN(Topology topology, load_topology(context.topology));
  BL_ASSIGN(HttpClient client, client_of(context, topology, o.at.empty() ? contents->to : o.at));
  PartReader reader;
  if (auto opened = reader.open(o.file); !opened) return named(opened.error());
  std::map<std::string, uint64_t> counts;
  uint64_t before = 0;
  Json last;
  std::string file;
  for (uint64_t n = 0; n < contents->parts; ++n) {
    BL_ASSIGN(auto bytes, reader.next());
    if (!bytes)
      return named({ErrorKind::corrupt, "file.changed", "the file was changed meanwhile"});
    auto answer = send_part(client, *bytes);
    if (!answer) {
      Error e = answer.error();
      if (n > 0) {
        e.message += " (parts 1 to " + std::to_string(n) + " of " +
                     std::to_string(contents->parts) +
                     " were taken in; import the file again when this is mended, nothing is taken "
                     "twice)";
      }
      return named(std::move(e));
    }
    last = std::move(*answer);
    if (n == 0) {
      file = text_of(last, "file");
      before = number_of(last, "before");
    }
    bool ends = n + 1 == contents->parts;
    if (text_of(last, "file") != file || number_of(last, "part") != n ||
        flag_of(last, "last") != ends) {
      return named({ErrorKind::corrupt, "file.mixed",
                    "its parts are not one whole file: some were taken away, put elsewhere or are "
                    "of another file. What is genuine was taken in; export again for the rest"});
    }
    for (const char* name : kCounts) counts[name] += number_of(last, name);
  }
  bool feed = contents->kind == FileKind::feed;
  uint64_t csn = number_of(last, "csn"), pending = number_of(last, "pending");
  if (context.json) {
    std::string out;
    JsonWriter w(out);
    w.begin_object().member("kind", to_string(contents->kind));
    w.member("from", contents->from).member("to", contents->to).member("parts", contents->parts);
    if (feed) w.member("before", before).member("pending", pending);
    for (const char* name : kCounts) {
      if (feed || std::string_view(name) != "decided") w.member(name, counts[name]);
    }
    w.member("csn", csn).end_object();
    std::printf("%s\n", out.c_str());
    return 0;
  }
  auto n = [&](const char* name) { return static_cast<unsigned long long>(counts[name]); };
  if (feed) {
    std::printf(
        "%s went from csn %llu to %llu; %llu of its changes were decided, %llu wait still\n",
        contents->to.c_str(), static_cast<unsigned long long>(before),
        static_cast<unsigned long long>(csn), n("decided"),
        static_cast<unsigned long long>(pending));
  } else {
    std::printf(
        "%llu new changes of %s, %llu were known here already; the main line is at csn %llu\n",
        n("new"), contents->from.c_str(), n("known"), static_cast<unsigned long long>(csn));
  }
  if (n("new") > 0 || n("decided") > 0) {
    std::printf("%llu applied, %llu merged, %llu overridden, %llu rejected\n", n("applied"),
                n("merged"), n("overridden"), n("rejected"));
  }
  if (!feed) {
    std::printf("%s hears of it over its link, or by file: branchline export --for %s FILE\n",
                contents->from.c_str(), contents->from.c_str());
  }
  return 0;
}

}  // namespace

int run_file_import(const CommandContext& context, const FileImport& options) {
  auto done = do_import(context, options);
  return done ? *done : complain(done.error());
}

void add_export_command(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand(
      "export",
      "write a file that stands in for a link that is down: what an office has pending (--at), or "
      "what the main line has for it (--for). It is signed, and only its receiver can read it");
  add_server_access(*command, context);
  auto o = std::make_shared<ExportOptions>();
  command->add_option(
      "--at", o->at,
      "what is pending at this office, for the master (also where hubs lie between); "
      "ask there, where the WAN is not needed");
  command->add_option("--for", o->to,
                      "the feed of this office, with the fates of its work, from where it stood "
                      "when its last link or file said so");
  command->add_option("--from", o->from, "with --for: from behind this commit (csn) instead");
  command->add_option("--certificate", o->certificate,
                      "the receiver's server.pem, where it was renewed since the last contact or "
                      "is not known here");
  command->add_flag("--replace", o->replace, "write over a file of this name");
  command->add_option("FILE", o->file, "where to write it")->required();
  command->footer(
      "Example: the office `east` works without its line; a courier carries two files:\n"
      "  branchline export --topology company.yaml --at east east-monday.blf     at the office\n"
      "  branchline import --topology company.yaml east-monday.blf               at head office\n"
      "  branchline export --topology company.yaml --for east back-monday.blf    at head office\n"
      "  branchline import --topology company.yaml back-monday.blf               at the office\n"
      "Files may be imported twice, late, or when the line is up again: everything counts once.\n"
      "Exit codes: 0 written, 1 the server could not, 2 wrong use or the token is refused, 3 the "
      "server does not\nanswer.");
  command->callback([&context, o] {
    context.run = [&context, o] {
      auto done = do_export(context, *o);
      return done ? *done : complain(done.error());
    };
  });
}

}  // namespace branchline
