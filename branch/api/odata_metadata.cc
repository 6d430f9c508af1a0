#include "branch/api/odata_metadata.h"

#include "branch/api/odata_names.h"
#include "common/json/json.h"

namespace branchline {
namespace {

const char* edm_type(ValueType t) {
  switch (t) {
    case ValueType::integer:
    case ValueType::duration:
      return "Edm.Int64";
    case ValueType::option:
      return "Edm.Int32";
    case ValueType::decimal:
    case ValueType::money:
      return "Edm.Decimal";
    case ValueType::boolean:
      return "Edm.Boolean";
    case ValueType::date:
      return "Edm.Date";
    case ValueType::instant:
    case ValueType::local_time:
      return "Edm.DateTimeOffset";
    case ValueType::lookup:
      return "Edm.Guid";
    default:
      return "Edm.String";
  }
}

std::string xml(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

void property(std::string& out, const std::string& name, const std::string& type,
              const std::string& more = "") {
  out += "        <Property Name=\"" + xml(name) + "\" Type=\"" + type + "\"" + more + "/>\n";
}

void entity_type(std::string& out, const Schema& schema, const Entity& e) {
  out += "      <EntityType Name=\"" + e.name + "\">\n        <Key><PropertyRef Name=\"" +
         e.primary_key + "\"/></Key>\n";
  property(out, e.primary_key, "Edm.Guid", " Nullable=\"false\"");
  for (const auto& f : e.fields) {
    if (f.policy == Policy::append) {
      if (e.id == entity_id::kConflict) property(out, f.name, "Collection(mscrm.contender)");
      continue;
    }
    if (f.policy == Policy::set) {
      property(out, f.name, "Collection(Edm.String)");
      continue;
    }
    std::string more;
    if (f.max_length != 0) more += " MaxLength=\"" + std::to_string(f.max_length) + "\"";
    if (f.type == ValueType::decimal || f.type == ValueType::money) more += " Scale=\"variable\"";
    property(out, property_of(f), edm_type(f.type), more);
  }
  for (const char* name : {"createdon", "modifiedon", "branchline_revivedon"})
    property(out, name, "Edm.DateTimeOffset");
  for (const char* name : {"_createdby_value", "_modifiedby_value", "_territoryid_value",
                           "_branchline_duplicateof_value"})
    property(out, name, "Edm.Guid");
  for (const auto& f : e.fields) {
    if (f.type != ValueType::lookup) continue;
    for (EntityId t : f.targets) {
      const Entity& target = *schema.entity(t);
      std::string name = f.targets.size() == 1 ? f.name : f.name + "_" + target.name;
      out += "        <NavigationProperty Name=\"" + name + "\" Type=\"mscrm." + target.name +
             "\">" + "<ReferentialConstraint Property=\"" + property_of(f) +
             "\" ReferencedProperty=\"" + target.primary_key + "\"/></NavigationProperty>\n";
    }
  }
  for (const auto& c : e.collections) {
    out += "        <NavigationProperty Name=\"" + c.name + "\" Type=\"Collection(mscrm." +
           schema.entity(c.entity)->name + ")\"/>\n";
  }
  out += "      </EntityType>\n";
}

}  // namespace

std::string service_document(const Schema& schema, const std::string& context_root) {
  std::string out = "{\"@odata.context\":";
  append_json_string(out, context_root + "$metadata");
  out += ",\"value\":[";
  bool first = true;
  auto add = [&](const std::string& set) {
    if (!first) out.push_back(',');
    first = false;
    out += "{\"name\":\"" + set + "\",\"kind\":\"EntitySet\",\"url\":\"" + set + "\"}";
  };
  for (const auto& e : schema.entities()) {
    if (e->credential) continue;
    add(e->set_name);
    for (const auto& s : e->subtypes) add(s.set_name);
  }
  return out + "]}";
}

std::string csdl(const Schema& schema) {
  // The namespace that clients of the Dataverse expect.
  std::string out =
      "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
      "<edmx:Edmx Version=\"4.0\" xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\">\n  "
      "<edmx:DataServices>\n"
      "    <Schema Namespace=\"Microsoft.Dynamics.CRM\" Alias=\"mscrm\" "
      "xmlns=\"http://docs.oasis-open.org/odata/ns/edm\">\n";
  for (const auto& e : schema.entities()) {
    if (!e->credential) entity_type(out, schema, *e);
  }
  // The values stand beside these, under the names of their fields.
  out += "      <ComplexType Name=\"contender\" OpenType=\"true\">\n";
  property(out, "_authorid_value", "Edm.Guid");
  property(out, "madeon", "Edm.DateTimeOffset");
  property(out, "office", "Edm.String");
  property(out, "mutation", "Edm.String");
  out += "      </ComplexType>\n";
  out += "      <EntityType Name=\"crmbaseentity\" Abstract=\"true\"/>\n";
  out += "      <ComplexType Name=\"WhoAmIResponse\">\n";
  for (const char* name : {"BusinessUnitId", "UserId", "OrganizationId"})
    property(out, name, "Edm.Guid", " Nullable=\"false\"");
  out +=
      "      </ComplexType>\n      <Function Name=\"WhoAmI\"><ReturnType "
      "Type=\"mscrm.WhoAmIResponse\" Nullable=\"false\"/></Function>\n"
      "      <Action Name=\"Merge\"><Parameter Name=\"Target\" Type=\"mscrm.crmbaseentity\" "
      "Nullable=\"false\"/><Parameter Name=\"Subordinate\" Type=\"mscrm.crmbaseentity\" "
      "Nullable=\"false\"/><Parameter Name=\"UpdateContent\" Type=\"mscrm.crmbaseentity\"/>"
      "<Parameter Name=\"PerformParentingChecks\" Type=\"Edm.Boolean\" Nullable=\"false\"/>"
      "</Action>\n"
      "      <EntityContainer Name=\"System\">\n";
  for (const auto& e : schema.entities()) {
    if (e->credential) continue;
    auto set = [&](const std::string& name) {
      out += "        <EntitySet Name=\"" + name + "\" EntityType=\"Microsoft.Dynamics.CRM." +
             e->name + "\"/>\n";
    };
    set(e->set_name);
    for (const auto& s : e->subtypes) set(s.set_name);
  }
  out +=
      "        <FunctionImport Name=\"WhoAmI\" Function=\"Microsoft.Dynamics.CRM.WhoAmI\"/>\n"
      "        <ActionImport Name=\"Merge\" Action=\"Microsoft.Dynamics.CRM.Merge\"/>\n"
      "      </EntityContainer>\n    </Schema>\n  </edmx:DataServices>\n</edmx:Edmx>\n";
  return out;
}

}  // namespace branchline
