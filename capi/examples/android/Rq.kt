// rq in Kotlin, over rq_jni.c. Not built by this project's tests.
//
//     Rq.open(assets.openFd("demo-model.rq"), threads = 2).use { rq ->
//         val best = rq.fill("She opened the <mask>.", 3).first()
//     }
package org.example.rq

import android.content.res.AssetFileDescriptor
import java.io.Closeable
import java.io.File
import android.os.ParcelFileDescriptor

class RqException(val status: Int, message: String) : Exception(message)

data class Fill(val mask: Int, val score: Float, val token: String)

/** A model and a session of it. Calls are one after the other, as a session takes them. */
class Rq private constructor(private var handle: Long) : Closeable {

    @Synchronized
    fun fill(text: String, topK: Int = 5): List<Fill> = nativeFill(live(), text.toByteArray(), topK).toList()

    @Synchronized
    fun embed(text: String): FloatArray = nativeEmbed(live(), text.toByteArray())

    /** Takes the memory for a text of so many tokens now. */
    @Synchronized
    fun reserve(tokens: Int) = nativeReserve(live(), tokens)

    @Synchronized
    override fun close() {
        if (handle != 0L) nativeClose(handle)
        handle = 0
    }

    private fun live(): Long = handle.also { check(it != 0L) { "closed" } }

    companion object {
        init {
            System.loadLibrary("rq_jni")
        }

        /** An asset that lies uncompressed in the package: mapped where it is, if it begins at a multiple of 64. */
        fun open(asset: AssetFileDescriptor, threads: Int = 1): Rq =
            asset.use { Rq(nativeOpen(it.parcelFileDescriptor.fd, it.startOffset, it.length, threads)) }

        /** A file, such as one that was downloaded. */
        fun open(file: File, threads: Int = 1): Rq =
            ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_ONLY).use {
                Rq(nativeOpen(it.fd, 0, file.length(), threads))
            }

        @JvmStatic private external fun nativeOpen(fd: Int, offset: Long, length: Long, threads: Int): Long
        @JvmStatic private external fun nativeFill(handle: Long, text: ByteArray, topK: Int): Array<Fill>
        @JvmStatic private external fun nativeEmbed(handle: Long, text: ByteArray): FloatArray
        @JvmStatic private external fun nativeReserve(handle: Long, tokens: Int)
        @JvmStatic private external fun nativeClose(handle: Long)
    }
}
