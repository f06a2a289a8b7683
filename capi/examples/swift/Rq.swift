// rq in Swift: models and sessions that free themselves, and errors that are thrown. Not built by this project's tests.
//
//     let model = try Model(path: Bundle.main.path(forResource: "demo-model", ofType: "rq")!)
//     let session = try Session(model, threads: 2)
//     let fills = try session.fill("She opened the <mask>.")
import CRq
import Foundation

public struct RqError: Error, CustomStringConvertible {
  public let status: rq_status
  public let description: String
}

/// A model. It can be shared by threads.
public final class Model: @unchecked Sendable {
  let raw: OpaquePointer

  public init(path: String) throws {
    var message = rq_message()
    var opened: OpaquePointer?
    let status = path.withUTF8Bytes { rq_model_open($0, $1, &message, &opened) }
    guard status == RQ_OK, let opened else {
      throw RqError(status: status, description: text(of: &message))
    }
    raw = opened
  }

  deinit { rq_model_free(raw) }

  /// Floats of an embedding.
  public var embeddingSize: Int { rq_model_embedding_size(raw) }
}

/// A token for a mask.
public struct Fill: Sendable {
  public let mask: Int
  public let score: Float
  public let token: String
  public let sequence: String
}

/// An actor, so that one task at a time uses the session: rq would tell another that it is busy.
public actor Session {
  private let raw: OpaquePointer
  private let embeddingSize: Int

  public init(_ model: Model, threads: Int = 1) throws {
    var options = rq_session_options()  // zeros: the defaults
    options.size = MemoryLayout<rq_session_options>.stride
    options.threads = threads
    var message = rq_message()
    var made: OpaquePointer?
    let status = rq_session_new(model.raw, &options, &message, &made)
    guard status == RQ_OK, let made else {
      throw RqError(status: status, description: text(of: &message))
    }
    raw = made
    embeddingSize = model.embeddingSize
  }

  deinit { rq_session_free(raw) }

  public func fill(_ text: String, topK: Int = 0) throws -> [Fill] {
    var options = rq_fill_options()
    options.size = MemoryLayout<rq_fill_options>.stride
    options.top_k = topK
    var list: UnsafeMutablePointer<rq_fill_list>?
    try check(text.withUTF8Bytes { rq_fill(raw, $0, $1, &options, &list) })
    defer { rq_fill_list_free(list) }
    return UnsafeBufferPointer(start: list!.pointee.items, count: list!.pointee.len).map {
      Fill(mask: $0.mask, score: $0.score, token: string($0.token_str), sequence: string($0.sequence))
    }
  }

  public func embed(_ text: String) throws -> [Float] {
    var embedding = [Float](repeating: 0, count: embeddingSize)
    try check(text.withUTF8Bytes { rq_embed(raw, $0, $1, nil, &embedding, embedding.count, nil) })
    return embedding
  }

  private func check(_ status: rq_status) throws {
    if status != RQ_OK {
      throw RqError(status: status, description: string(rq_session_message(raw)))
    }
  }
}

private func string(_ raw: rq_string) -> String {
  // A copy: what rq gives lives only as long as its list.
  String(decoding: UnsafeRawBufferPointer(start: raw.data, count: raw.len), as: UTF8.self)
}

private func text(of message: inout rq_message) -> String {
  withUnsafeBytes(of: &message.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}

extension String {
  fileprivate func withUTF8Bytes<R>(_ body: (UnsafePointer<CChar>?, Int) -> R) -> R {
    var copy = self
    return copy.withUTF8 { bytes in
      bytes.withMemoryRebound(to: CChar.self) { body($0.baseAddress, $0.count) }
    }
  }
}
